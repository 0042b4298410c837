"""RBAC rules and bindings, certificate signing requests, token requests."""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.api.types.validation import names
from twinplane.controlplane.api.types.validation.context import Context, Visitor
from twinplane.controlplane.api.types.validation.fields import forbidden, invalid, required, unsupported

RBAC = "rbac.authorization.k8s.io"
_MINIMUM_EXPIRATION = 600
_MAXIMUM_EXPIRATION = 1 << 32


def policy_rule(rule: dict[str, Any], path: str, context: Context) -> None:
    errors = context.errors
    if not rule.get("verbs"):
        errors.append(required(f"{path}.verbs", "verbs must contain at least one value"))
    if rule.get("nonResourceURLs"):
        if context.type.resource.namespaced:
            detail = "namespaced rules cannot apply to non-resource URLs"
            errors.append(invalid(f"{path}.nonResourceURLs", rule["nonResourceURLs"], detail))
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            detail = "rules cannot apply to both regular resources and non-resource URLs"
            errors.append(invalid(f"{path}.nonResourceURLs", rule["nonResourceURLs"], detail))
        return
    if not rule.get("apiGroups"):
        errors.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
    if not rule.get("resources"):
        errors.append(required(f"{path}.resources", "resource rules must supply at least one resource"))


def role_reference(reference: dict[str, Any], path: str, context: Context) -> None:
    errors, kinds = context.errors, ("ClusterRole", "Role") if context.type.resource.namespaced else ("ClusterRole",)
    if reference.get("apiGroup") != RBAC:
        errors.append(unsupported(f"{path}.apiGroup", reference.get("apiGroup", ""), (RBAC,)))
    if reference.get("kind") not in kinds:
        errors.append(unsupported(f"{path}.kind", reference.get("kind", ""), kinds))
    if reference.get("name"):
        errors.texts(f"{path}.name", reference["name"], names.path_segment(reference["name"]))


def subject(value: dict[str, Any], path: str, context: Context) -> None:
    errors, kind, group = context.errors, value.get("kind", ""), value.get("apiGroup", "")
    if kind == "ServiceAccount":
        if value.get("name"):
            errors.texts(f"{path}.name", value["name"], names.dns_subdomain(value["name"]))
        if group:
            errors.append(unsupported(f"{path}.apiGroup", group, ("",)))
        if not value.get("namespace") and not context.type.resource.namespaced:
            errors.append(required(f"{path}.namespace"))
    elif kind in ("User", "Group"):
        if group != RBAC:
            errors.append(unsupported(f"{path}.apiGroup", group, (RBAC,)))
    else:
        errors.append(unsupported(f"{path}.kind", kind, ("Group", "ServiceAccount", "User")))


def binding(body: dict[str, Any], path: str, context: Context) -> None:
    if not body.get("roleRef"):
        kinds = ("ClusterRole", "Role") if context.type.resource.namespaced else ("ClusterRole",)
        context.errors.append(unsupported("roleRef.kind", "", kinds))
        context.errors.append(required("roleRef.name"))


def signing_request(spec: dict[str, Any], path: str, context: Context) -> None:
    errors = context.errors
    signer = spec.get("signerName", "")
    if signer:
        domain, slash, name = signer.partition("/")
        if not slash or not name or "." not in domain:
            detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
            errors.append(invalid(f"{path}.signerName", signer, detail))
    if not spec.get("usages"):
        errors.append(required(f"{path}.usages", "usages must be specified"))
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < _MINIMUM_EXPIRATION:
        detail = "may not specify a duration less than 600 seconds (10 minutes)"
        errors.append(invalid(f"{path}.expirationSeconds", seconds, detail))
    if not spec.get("request"):
        detail = "PEM block type must be CERTIFICATE REQUEST"
        errors.append(invalid(f"{path}.request", spec.get("request", ""), detail))


def token_request(spec: dict[str, Any], path: str, context: Context) -> None:
    seconds = spec.get("expirationSeconds", 3600)
    if seconds < _MINIMUM_EXPIRATION:
        detail = "may not specify a duration less than 10 minutes"
        context.errors.append(invalid(f"{path}.expirationSeconds", seconds, detail))
    if seconds > _MAXIMUM_EXPIRATION:
        detail = "may not specify a duration larger than 2^32 seconds"
        context.errors.append(invalid(f"{path}.expirationSeconds", seconds, detail))


def access_review(spec: dict[str, Any], path: str, context: Context) -> None:
    errors = context.errors
    both = "resourceAttributes" in spec, "nonResourceAttributes" in spec
    if all(both):
        detail = "cannot be specified in combination with resourceAttributes"
        errors.append(invalid(f"{path}.nonResourceAttributes", spec["nonResourceAttributes"], detail))
    elif not any(both):
        detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        errors.append(invalid(f"{path}.resourceAttributes", None, detail))


def subject_review(spec: dict[str, Any], path: str, context: Context) -> None:
    access_review(spec, path, context)
    if not spec.get("user") and not spec.get("groups"):
        detail = "at least one of user or group must be specified"
        context.errors.append(invalid(f"{path}.user", "", detail))


def local_review(body: dict[str, Any], path: str, context: Context) -> None:
    spec = body.get("spec") or {}
    namespace = (spec.get("resourceAttributes") or {}).get("namespace", "")
    if namespace != (body.get("metadata") or {}).get("namespace", ""):
        detail = "must match metadata.namespace"
        context.errors.append(invalid("spec.resourceAttributes.namespace", namespace, detail))
    if "nonResourceAttributes" in spec:
        context.errors.append(forbidden("spec.nonResourceAttributes", "disallowed on this kind of request"))


VALIDATORS: dict[str, Visitor] = {
    "authentication.v1.TokenRequestSpec": token_request,
    "authorization.v1.LocalSubjectAccessReview": local_review,
    "authorization.v1.SelfSubjectAccessReviewSpec": access_review,
    "authorization.v1.SubjectAccessReviewSpec": subject_review,
    "certificates.v1.CertificateSigningRequestSpec": signing_request,
    "rbac.v1.ClusterRoleBinding": binding,
    "rbac.v1.PolicyRule": policy_rule,
    "rbac.v1.RoleBinding": binding,
    "rbac.v1.RoleRef": role_reference,
    "rbac.v1.Subject": subject,
}
