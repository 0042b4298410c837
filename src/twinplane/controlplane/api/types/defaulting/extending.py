"""Defaults of access control, network policies, custom resource definitions and devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Value = dict[str, Any]
RBAC = "rbac.authorization.k8s.io"
_CRD = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."


def default_subject(subject: Value) -> None:
    if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
        subject["apiGroup"] = RBAC


def default_role_reference(reference: Value) -> None:
    if not reference.get("apiGroup"):
        reference["apiGroup"] = RBAC


def default_network_policy(spec: Value) -> None:
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def default_definition(spec: Value) -> None:
    names = spec.setdefault("names", {})
    kind = names.get("kind", "")
    if kind:
        names.setdefault("singular", kind.lower())
        names.setdefault("listKind", kind + "List")
    spec.setdefault("conversion", {}).setdefault("strategy", "None")


def default_device_request(request: Value) -> None:
    if request.get("allocationMode", "ExactCount") == "ExactCount":
        request.setdefault("count", 1)


SETTERS: dict[str, Callable[[Value], None]] = {
    "rbac.v1.Subject": default_subject,
    "rbac.v1.RoleRef": default_role_reference,
    "networking.v1.NetworkPolicySpec": default_network_policy,
    _CRD + "CustomResourceDefinitionSpec": default_definition,
    "resource.v1.ExactDeviceRequest": default_device_request,
    "resource.v1.DeviceSubRequest": default_device_request,
}
