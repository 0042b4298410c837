"""Namespaces, claims, custom resource definitions and certificate requests: what a write of them may touch."""

from __future__ import annotations

from typing import Any

from twinplane.kubeclient.contract import Object

FINALIZER = "kubernetes"


def create_namespace(namespace: Object) -> None:
    """The namespace controller empties it before it goes, which the finalizer stands for."""
    finalizers = namespace.setdefault("spec", {}).setdefault("finalizers", [])
    if FINALIZER not in finalizers:
        finalizers.append(FINALIZER)
    namespace["status"] = {"phase": "Active"}


def update_namespace(namespace: Object, old: Object) -> None:
    finalizers = (old.get("spec") or {}).get("finalizers")
    spec = namespace.setdefault("spec", {})
    if finalizers:
        spec["finalizers"] = list(finalizers)
    else:
        spec.pop("finalizers", None)


def finalize_namespace(namespace: Object, old: Object) -> None:
    """Only `spec.finalizers` comes from the request."""
    if "status" in old:
        namespace["status"] = old["status"]
    else:
        namespace.pop("status", None)


def create_claim(claim: Object) -> None:
    claim["status"] = {"phase": "Pending"}
    _mirror_data_source(claim.setdefault("spec", {}))


def update_claim(claim: Object, old: Object) -> None:
    _mirror_data_source(claim.setdefault("spec", {}))


def _mirror_data_source(spec: dict[str, Any]) -> None:
    """`dataSource` and `dataSourceRef` say the same unless the reference crosses namespaces."""
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source and not reference:
        spec["dataSourceRef"] = dict(source)
    elif reference and not source and not reference.get("namespace"):
        spec["dataSource"] = {key: reference[key] for key in ("apiGroup", "kind", "name") if key in reference}


def create_definition(definition: Object) -> None:
    storage = _storage_version(definition)
    definition["status"] = {"storedVersions": [storage]} if storage else {}


def create_api_service(service: Object) -> None:
    """What this server serves itself is available from the start."""
    if (service.get("spec") or {}).get("service") is None:
        condition = {
            "type": "Available",
            "status": "True",
            "reason": "Local",
            "message": "Local APIServices are always available",
            "lastTransitionTime": service["metadata"].get("creationTimestamp"),
        }
        service["status"] = {"conditions": [condition]}


def update_definition(definition: Object, old: Object) -> None:
    storage = _storage_version(definition)
    status = dict(old.get("status") or {})
    stored = status.get("storedVersions") or []
    if storage and storage not in stored:
        definition["status"] = status | {"storedVersions": [*stored, storage]}


def _storage_version(definition: Object) -> str:
    versions = (definition.get("spec") or {}).get("versions") or ()
    return next((str(version.get("name", "")) for version in versions if version.get("storage")), "")


def update_signing_request(request: Object, old: Object) -> None:
    request["spec"] = old.get("spec", {})


def _conditions(request: Object, approvals: bool) -> list[dict[str, Any]]:
    conditions = (request.get("status") or {}).get("conditions") or ()
    return [entry for entry in conditions if (entry.get("type") in ("Approved", "Denied")) == approvals]


def approve_signing_request(request: Object, old: Object) -> None:
    """Approvers set conditions, and nothing else of the status."""
    request["spec"] = old.get("spec", {})
    conditions = (request.get("status") or {}).get("conditions")
    request["status"] = {name: value for name, value in (old.get("status") or {}).items() if name != "conditions"}
    if conditions:
        request["status"]["conditions"] = conditions


def sign_signing_request(request: Object, old: Object) -> None:
    """Signers set the certificate and Failed; approvals stay as they are."""
    conditions = _conditions(old, approvals=True) + _conditions(request, approvals=False)
    status = request.setdefault("status", {})
    if conditions:
        status["conditions"] = conditions
    else:
        status.pop("conditions", None)
