"""Questions posed as creates and answered at once, stored nowhere: token and access reviews, and issued tokens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twinplane.controlplane.api.contract import Response
from twinplane.controlplane.api.options import write_options
from twinplane.controlplane.api.runtime import Call, respond
from twinplane.controlplane.api.verbs.admission import Admission
from twinplane.controlplane.api.verbs.get import found, missing
from twinplane.controlplane.api.verbs.pods import decoded
from twinplane.controlplane.api.verbs.write import decode_body, now
from twinplane.controlplane.api.views import negotiate
from twinplane.controlplane.auth.access_policies import CANONICAL_ARN
from twinplane.controlplane.auth.contract import Attributes, UserInfo
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import FieldError, bad_request, invalid

Review = Callable[[Call, Object], Awaitable[Object]]


async def create_review(call: Call) -> Response:
    options = write_options(call.request, "CreateOptions")
    body = decode_body(call, options)
    await Admission(call, "CREATE", body, None, options.body(), dry_run=options.dry_run).run()
    accepted = negotiate(call.request.headers.get("accept", ""), tables=False)
    return respond(await REVIEWS[call.type.resource.kind](call, body), 201, yaml=accepted.yaml)


async def _token_review(call: Call, body: Object) -> Object:
    return await call.runtime.review_token(body)


async def _self_subject_review(call: Call, body: Object) -> Object:
    body["metadata"] = {"creationTimestamp": now(call.runtime)}
    body["status"] = {"userInfo": _shown(call.user)}
    return body


async def _subject_access_review(call: Call, body: Object) -> Object:
    spec = _spec(call, body)
    if not spec.get("user") and not spec.get("groups"):
        detail = "at least one of user or group must be specified"
        raise _invalid(call, [FieldError("FieldValueInvalid", "spec.user", detail, "")])
    extra = {_restored(key): tuple(values) for key, values in (spec.get("extra") or {}).items()}
    user = UserInfo(spec.get("user", ""), tuple(spec.get("groups") or ()), spec.get("uid", ""), extra)
    return _decide(call, body, user)


def _restored(key: str) -> str:
    """An aggregated server asks about a user whom it knows from our headers, whose names reach it in lower case."""
    return CANONICAL_ARN if key == CANONICAL_ARN.lower() else key


async def _local_subject_access_review(call: Call, body: Object) -> Object:
    attributes = _spec(call, body).get("resourceAttributes")
    if attributes is None:
        detail = "disallowed on this kind of request"
        raise _invalid(call, [FieldError("FieldValueInvalid", "spec.nonResourceAttributes", detail, None)])
    namespace = attributes.get("namespace", "")
    if namespace != call.namespace:
        raise bad_request(f"spec.resourceAttributes.namespace must match namespace: {namespace} != {call.namespace}")
    return await _subject_access_review(call, body)


async def _self_subject_access_review(call: Call, body: Object) -> Object:
    _spec(call, body)
    return _decide(call, body, call.user)


async def _self_subject_rules_review(call: Call, body: Object) -> Object:
    namespace = (body.get("spec") or {}).get("namespace", "")
    if not namespace:
        raise bad_request("no namespace on request")
    rules = call.runtime.rules_for(call.user, namespace)
    body["status"] = {
        "resourceRules": [_resource_rule(rule) for rule in rules if rule.get("resources")],
        "nonResourceRules": [
            {"verbs": rule["verbs"], "nonResourceURLs": rule["nonResourceURLs"]}
            for rule in rules
            if rule.get("nonResourceURLs")
        ],
        "incomplete": False,
    }
    return body


def _resource_rule(rule: dict[str, Any]) -> dict[str, Any]:
    fields = ("verbs", "apiGroups", "resources", "resourceNames")
    return {field: rule[field] for field in fields if rule.get(field)}


def _spec(call: Call, body: Object) -> Object:
    spec: Object = body.get("spec") or {}
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and other is not None:
        detail = "cannot be specified in combination with resourceAttributes"
        raise _invalid(call, [FieldError("FieldValueInvalid", "spec.nonResourceAttributes", detail, other)])
    if resource is None and other is None:
        detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        raise _invalid(call, [FieldError("FieldValueInvalid", "spec.resourceAttributes", detail, None)])
    return spec


def _invalid(call: Call, causes: list[FieldError]) -> Exception:
    resource = call.type.resource
    return invalid(resource.group, resource.kind, "", causes)


def _decide(call: Call, body: Object, user: UserInfo) -> Object:
    decision = call.runtime.authorizer.authorize(_attributes(body["spec"], user))
    status: Object = {"allowed": decision.allowed}
    if decision.reason:
        status["reason"] = decision.reason
    body["status"] = status
    return body


def _attributes(spec: Object, user: UserInfo) -> Attributes:
    other = spec.get("nonResourceAttributes")
    if other is not None:
        return Attributes(user, other.get("verb", ""), path=other.get("path", ""))
    resource = spec["resourceAttributes"]
    fields = ("verb", "group", "version", "resource", "subresource", "namespace", "name")
    selector = _field_selector(resource.get("fieldSelector") or {})
    return Attributes(user, **{field: resource.get(field, "") for field in fields}, field_selector=selector)


def _field_selector(asked: Object) -> str:
    """What a review limits a list or watch to, in the notation of a query; what no query can say limits nothing."""
    if asked.get("rawSelector"):
        return str(asked["rawSelector"])
    signs = {"In": "=", "NotIn": "!="}
    terms = []
    for term in asked.get("requirements") or ():
        values = term.get("values") or []
        if term.get("operator") in signs and len(values) == 1:
            value = "".join(f"\\{character}" if character in ",=\\" else character for character in values[0])
            terms.append(f"{term.get('key', '')}{signs[term['operator']]}{value}")
    return ",".join(terms)


def _shown(user: UserInfo) -> Object:
    shown: Object = {"username": user.name, "uid": user.uid, "groups": list(user.groups)}
    if user.extra:
        shown["extra"] = {key: list(values) for key, values in user.extra.items()}
    return {key: value for key, value in shown.items() if value}


async def create_token(call: Call) -> Response:
    """POST serviceaccounts/NAME/token."""
    options = write_options(call.request, "CreateOptions")
    found(call)
    body = decoded(call, ("authentication.k8s.io", "v1", "TokenRequest"))
    await Admission(call, "CREATE", body, None, options.body(), dry_run=options.dry_run).run()
    return respond(call.runtime.create_token(call.namespace, call.name, body), 201)


async def component_statuses(call: Call) -> Response:
    """The three that upstream names, healthy as long as this server can say so."""
    resource, view = call.type.resource, call.view()
    healthy = call.runtime.cache.failure is None
    items = [_component(name, "ok" if name != "etcd-0" or healthy else "unhealthy") for name in _COMPONENTS]
    if call.name:
        items = [item for item in items if item["metadata"]["name"] == call.name]
        if not items:
            raise missing(call)
    if view.accepted.shape == "table":
        return respond(view.table(items))
    if call.name:
        return respond(items[0])
    envelope = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": {}}
    return respond({**envelope, "items": items})


_COMPONENTS = ("controller-manager", "scheduler", "etcd-0")


def _component(name: str, message: str) -> Object:
    condition = {"type": "Healthy", "status": "True" if message == "ok" else "False", "message": message}
    return {"kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name}, "conditions": [condition]}


REVIEWS: dict[str, Review] = {
    "TokenReview": _token_review,
    "SelfSubjectReview": _self_subject_review,
    "SubjectAccessReview": _subject_access_review,
    "LocalSubjectAccessReview": _local_subject_access_review,
    "SelfSubjectAccessReview": _self_subject_access_review,
    "SelfSubjectRulesReview": _self_subject_rules_review,
}
