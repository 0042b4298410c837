"""Bindings, certificate requests, webhooks, policies, API services, flow control as `kubectl get` shows them."""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.api.types.printing.column import (
    NONE,
    UNKNOWN,
    UNSET,
    Printer,
    age,
    human_duration,
    name,
    printer,
    spec,
    status,
)
from twinplane.kubeclient.contract import Object


def role_binding(body: Object, now: float) -> list[Any]:
    role = body.get("roleRef") or {}
    subjects = body.get("subjects") or ()
    accounts = [
        f"{entry.get('namespace', '')}/{entry.get('name', '')}"
        for entry in subjects
        if entry.get("kind") == "ServiceAccount"
    ]
    return [
        name(body),
        f"{role.get('kind', '')}/{role.get('name', '')}",
        age(body, now),
        _named(subjects, "User"),
        _named(subjects, "Group"),
        ", ".join(accounts),
    ]


def _named(subjects: Any, kind: str) -> str:
    return ", ".join(entry.get("name", "") for entry in subjects if entry.get("kind") == kind)


def signing_request(body: Object, now: float) -> list[Any]:
    wanted, seconds = spec(body), spec(body).get("expirationSeconds")
    return [
        name(body),
        age(body, now),
        wanted.get("signerName") or NONE,
        wanted.get("username", ""),
        NONE if seconds is None else human_duration(seconds),
        _signing_status(body),
    ]


def _signing_status(body: Object) -> str:
    conditions = {entry.get("type") for entry in status(body).get("conditions") or ()}
    words = ["Denied"] if "Denied" in conditions else ["Approved"] if "Approved" in conditions else ["Pending"]
    if "Failed" in conditions:
        words.append("Failed")
    if status(body).get("certificate"):
        words.append("Issued")
    return ",".join(words)


def webhooks(body: Object, now: float) -> list[Any]:
    return [name(body), len(body.get("webhooks") or ()), age(body, now)]


def admission_policy(body: Object, now: float) -> list[Any]:
    kind = spec(body).get("paramKind")
    shown = f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else UNSET
    count = len(spec(body).get("validations") or spec(body).get("mutations") or ())
    return [name(body), count, shown, age(body, now)]


def policy_binding(body: Object, now: float) -> list[Any]:
    reference = spec(body).get("paramRef")
    shown = UNSET
    if reference:
        named = reference.get("name") or "*"
        shown = f"{reference['namespace']}/{named}" if reference.get("namespace") else named
    return [name(body), spec(body).get("policyName", ""), shown, age(body, now)]


def api_service(body: Object, now: float) -> list[Any]:
    service = spec(body).get("service")
    shown = f"{service.get('namespace', '')}/{service.get('name', '')}" if service else "Local"
    conditions = status(body).get("conditions") or ()
    available = next((entry for entry in conditions if entry.get("type") == "Available"), None)
    text = "Unknown"
    if available is not None:
        text = str(available.get("status", ""))
        if text == "False":
            text += f" ({available.get('reason', '')})"
    return [name(body), shown, text, age(body, now)]


def flow_schema(body: Object, now: float) -> list[Any]:
    wanted = spec(body)
    dangling = {entry.get("type"): entry.get("status") for entry in status(body).get("conditions") or ()}
    return [
        name(body),
        (wanted.get("priorityLevelConfiguration") or {}).get("name") or NONE,
        wanted.get("matchingPrecedence", 0),
        (wanted.get("distinguisherMethod") or {}).get("type", NONE),
        age(body, now),
        dangling.get("Dangling", "?"),
    ]


def priority_level(body: Object, now: float) -> list[Any]:
    wanted = spec(body)
    limited = wanted.get("limited") or wanted.get("exempt") or {}
    queuing = ((limited.get("limitResponse") or {}).get("queuing")) or {}
    numbers = [queuing.get(field, NONE) for field in ("queues", "handSize", "queueLengthLimit")]
    shares = limited.get("nominalConcurrencyShares", NONE)
    return [name(body), wanted.get("type", UNKNOWN), shares, *numbers, age(body, now)]


_RBAC, _ADMISSION, _FLOW = "rbac.authorization.k8s.io", "admissionregistration.k8s.io", "flowcontrol.apiserver.k8s.io"
_BINDING = printer("Name,Role,Age", role_binding, "Users,Groups,ServiceAccounts")
_WEBHOOKS = printer("Name,Webhooks:integer,Age", webhooks)

PRINTERS: dict[tuple[str, str], Printer] = {
    (_ADMISSION, "MutatingAdmissionPolicy"): printer("Name,Mutations:integer,ParamKind,Age", admission_policy),
    (_ADMISSION, "MutatingAdmissionPolicyBinding"): printer("Name,PolicyName,ParamRef,Age", policy_binding),
    (_ADMISSION, "MutatingWebhookConfiguration"): _WEBHOOKS,
    (_ADMISSION, "ValidatingAdmissionPolicy"): printer("Name,Validations:integer,ParamKind,Age", admission_policy),
    (_ADMISSION, "ValidatingAdmissionPolicyBinding"): printer("Name,PolicyName,ParamRef,Age", policy_binding),
    (_ADMISSION, "ValidatingWebhookConfiguration"): _WEBHOOKS,
    ("apiregistration.k8s.io", "APIService"): printer("Name,Service,Available,Age", api_service),
    ("certificates.k8s.io", "CertificateSigningRequest"): printer(
        "Name,Age,SignerName,Requestor,RequestedDuration,Condition", signing_request
    ),
    (_FLOW, "FlowSchema"): printer(
        "Name,PriorityLevel,MatchingPrecedence,DistinguisherMethod,Age,MissingPL", flow_schema
    ),
    (_FLOW, "PriorityLevelConfiguration"): printer(
        "Name,Type,NominalConcurrencyShares,Queues,HandSize,QueueLengthLimit,Age", priority_level
    ),
    (_RBAC, "ClusterRoleBinding"): _BINDING,
    (_RBAC, "RoleBinding"): _BINDING,
}
