"""CEL in admission: the variables that every expression has, and the `authorizer` among them.

Webhooks' matchConditions and admission policies compile through one `Compiler` (one for a cluster, as it closes over
the cluster's authorizer) and evaluate over an `activation` (one for a request). Variables and functions are those of
apiserver `pkg/admission/plugin/cel` and `pkg/cel/library/authz.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twinplane.controlplane.admission.webhooks.attributes import Attributes, review_request
from twinplane.controlplane.auth.contract import Attributes as Question
from twinplane.controlplane.auth.contract import Authorizer, UserInfo
from twinplane.controlplane.cel import Function, Program, compile_expression

_AUTHORIZER = "kubernetes.authorization.Authorizer"
_PATH = "kubernetes.authorization.PathCheck"
_GROUP = "kubernetes.authorization.GroupCheck"
_RESOURCE = "kubernetes.authorization.ResourceCheck"
_DECISION = "kubernetes.authorization.Decision"
BASE = {
    "object": "dyn",
    "oldObject": "dyn",
    "request": "dyn",
    "authorizer": _AUTHORIZER,
    "authorizer.requestResource": _RESOURCE,
}

Check = dict[str, Any]
"""A question in the making: who (`user`, `groups`, ...) and, one call after the other, what."""


class Compiler:
    """Raises CompileError for what is no expression."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._functions = _functions(authorizer)

    def compile(self, text: str, more: Mapping[str, str] | None = None) -> Program:
        """`more`: names and types of variables beside the `BASE`."""
        return compile_expression(text, {**BASE, **(more or {})}, functions=self._functions)


def activation(attributes: Attributes) -> dict[str, Any]:
    """The values of the `BASE` variables for one request."""
    request = attributes.request
    user = _subject(request.user)
    resource = attributes.resource
    target = {"group": resource.group, "resource": resource.plural, "namespace": request.namespace}
    return {
        "object": attributes.object,
        "oldObject": attributes.old,
        "request": review_request(attributes),
        "authorizer": user,
        "authorizer.requestResource": {**user, **target, "subresource": request.subresource, "name": request.name},
    }


def _subject(user: UserInfo) -> Check:
    return {
        "user": user.name,
        "groups": list(user.groups),
        "uid": user.uid,
        "extra": {key: list(values) for key, values in user.extra.items()},
    }


def _service_account(check: Check, namespace: str, name: str) -> Check:
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
    return {"user": f"system:serviceaccount:{namespace}:{name}", "groups": groups, "uid": "", "extra": {}}


def _functions(authorizer: Authorizer) -> tuple[Function, ...]:
    def decide(check: Check, verb: str) -> Check:
        extra = {key: tuple(values) for key, values in check["extra"].items()}
        user = UserInfo(check["user"], tuple(check["groups"]), check["uid"], extra)
        if "path" in check:
            question = Question(user, verb, path=check["path"])
        else:
            place = {key: check.get(key, "") for key in ("group", "resource", "subresource", "namespace", "name")}
            question = Question(user, verb, version="*", **place)
        decision = authorizer.authorize(question)
        return {"allowed": decision.allowed, "reason": decision.reason}

    def add(field: str) -> Any:
        return lambda check, value: {**check, field: value}

    def member(name: str, of: str, result: str, implementation: Any, *more: str) -> Function:
        return Function(name, (of, *more), result, implementation, member=True)

    return (
        member("path", _AUTHORIZER, _PATH, add("path"), "string"),
        member("check", _PATH, _DECISION, decide, "string"),
        member("group", _AUTHORIZER, _GROUP, add("group"), "string"),
        member("serviceAccount", _AUTHORIZER, _AUTHORIZER, _service_account, "string", "string"),
        member("resource", _GROUP, _RESOURCE, add("resource"), "string"),
        member("subresource", _RESOURCE, _RESOURCE, add("subresource"), "string"),
        member("namespace", _RESOURCE, _RESOURCE, add("namespace"), "string"),
        member("name", _RESOURCE, _RESOURCE, add("name"), "string"),
        member("check", _RESOURCE, _DECISION, decide, "string"),
        member("allowed", _DECISION, "bool", lambda decision: decision["allowed"]),
        member("reason", _DECISION, "string", lambda decision: decision["reason"]),
        # Ours answer from memory and cannot fail.
        member("errored", _DECISION, "bool", lambda decision: False),
        member("error", _DECISION, "string", lambda decision: ""),
    )
