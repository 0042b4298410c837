"""A request as a webhook or policy sees it: in the version that it asked for, as `admission.k8s.io/v1` words it.

Admission plugins hold objects in the stored version. `Versions` turns them into another one (and a scale subresource
into the Scale that clients see) and carries changes back, defaulted, into the object under way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twinplane.controlplane.admission.contract import AdmissionRequest
from twinplane.controlplane.api.types.contract import ResourceType, TypeRegistry, TypeRules
from twinplane.controlplane.api.types.scaling import from_scale, to_scale
from twinplane.controlplane.auth.contract import UserInfo
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.meta import copied


@dataclass(frozen=True, slots=True)
class Attributes:
    """The request in the version of `resource`. `object` and `old` may be shared: copy before changing."""

    request: AdmissionRequest
    resource: Resource
    kind: Object
    """GroupVersionKind of the body, which for a subresource may be another one (Scale, Binding)."""
    requested_kind: Object
    object: Object | None
    old: Object | None


class Versions:
    def __init__(self, registry: TypeRegistry, rules: TypeRules) -> None:
        self._registry = registry
        self._rules = rules

    def attributes(self, request: AdmissionRequest, resource: Resource) -> Attributes:
        asked = request.requested or request.resource
        return Attributes(
            request,
            resource,
            self._kind(resource, request.subresource),
            self._kind(asked, request.subresource),
            self._shown(request, request.object, resource),
            self._shown(request, request.old, resource),
        )

    def type(self, resource: Resource) -> ResourceType | None:
        return self._registry.lookup(resource.group, resource.version, resource.plural)

    def put_back(self, attributes: Attributes, new: Object) -> bool:
        """Make the request's object what `new`, in the attributes' version, says. True when that changes it.

        Raises `ApiError` for what is no object of the type.
        """
        request, body = attributes.request, attributes.request.object
        served = self.type(attributes.resource)
        assert body is not None, "only what has an object is mutated"
        result = copied(new)
        if served is not None and _has_own_kind(request.subresource):
            self._rules.decode(served, result)
            result = self._rules.convert(result, attributes.resource, request.resource)
            stored = self.type(request.resource)
            if stored is not None:
                self._rules.default(stored, result)
        elif request.subresource == "scale" and served is not None:
            result = from_scale(served, copied(body), result)
        if result == body:
            return False
        body.clear()
        body.update(result)
        return True

    def _kind(self, resource: Resource, subresource: str) -> Object:
        served = self.type(resource)
        offered = served.subresource(subresource) if served is not None and subresource else None
        if offered is None:
            return {"group": resource.group, "version": resource.version, "kind": resource.kind}
        own = offered.kind == resource.kind
        group, version = (resource.group, resource.version) if own else (offered.group, offered.version)
        return {"group": group, "version": version, "kind": offered.kind}

    def _shown(self, request: AdmissionRequest, body: Object | None, resource: Resource) -> Object | None:
        if body is None:
            return None
        if not _has_own_kind(request.subresource):
            served = self.type(resource)
            # Subresources with bodies of their own (binding, eviction, token) come as what they are.
            if request.subresource == "scale" and served is not None and body.get("kind") == resource.kind:
                return to_scale(served, body)
            return body
        if resource == request.resource:
            return body
        return self._rules.convert(copied(body), request.resource, resource)


def _has_own_kind(subresource: str) -> bool:
    """Whether the body is the object itself, whole or in part."""
    return subresource in ("", "status", "finalize", "approval", "ephemeralcontainers", "resize")


def review_request(attributes: Attributes, uid: str = "") -> Object:
    """An admission.k8s.io AdmissionRequest, without `object` and `oldObject`."""
    request = attributes.request
    asked = request.requested or request.resource
    body: dict[str, Any] = {
        "uid": uid,
        "kind": attributes.kind,
        "resource": _resource(attributes.resource),
        "requestKind": attributes.requested_kind,
        "requestResource": _resource(asked),
    }
    if request.subresource:
        body["subResource"] = body["requestSubResource"] = request.subresource
    if request.name:
        body["name"] = request.name
    if request.namespace:
        body["namespace"] = request.namespace
    body["operation"] = request.operation
    body["userInfo"] = user_info(request.user)
    body["dryRun"] = request.dry_run
    body["options"] = request.options or None
    return body


def _resource(resource: Resource) -> Object:
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}


def user_info(user: UserInfo) -> Object:
    """authentication.k8s.io/v1 UserInfo."""
    body: Object = {"username": user.name}
    if user.uid:
        body["uid"] = user.uid
    if user.groups:
        body["groups"] = list(user.groups)
    if user.extra:
        body["extra"] = {key: list(values) for key, values in user.extra.items()}
    return body
