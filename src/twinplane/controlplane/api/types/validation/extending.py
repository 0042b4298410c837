"""What extends the API server: webhooks, custom resource definitions, API services; and priority classes."""

from __future__ import annotations

import re
from typing import Any

from twinplane.controlplane.api.types.validation import names
from twinplane.controlplane.api.types.validation.context import Context, Visitor
from twinplane.controlplane.api.types.validation.fields import Errors, forbidden, invalid, required, unsupported
from twinplane.kubeclient.contract import Object

Spec = dict[str, Any]
_CRD = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."
_REGISTRATION = "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1."
_USER_PRIORITY = 1_000_000_000
_SYSTEM = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_KIND = re.compile("[A-Za-z]([-a-zA-Z0-9]*[a-zA-Z0-9])?").fullmatch


def webhook(value: Spec, path: str, context: Context) -> None:
    errors, name = context.errors, value.get("name", "")
    if name and (names.dns_subdomain(name) or name.count(".") < 2):
        problems = names.dns_subdomain(name) or ("should be a domain with at least three segments separated by dots",)
        errors.texts(f"{path}.name", name, problems)
    seconds = value.get("timeoutSeconds", 10)
    if not 1 <= seconds <= 30:
        detail = "the timeout value must be between 1 and 30 seconds"
        errors.append(invalid(f"{path}.timeoutSeconds", seconds, detail))
    if not value.get("admissionReviewVersions"):
        detail = "must specify one of v1, v1beta1"
        errors.append(required(f"{path}.admissionReviewVersions", detail))
    elif not {"v1", "v1beta1"} & set(value["admissionReviewVersions"]):
        detail = "must include at least one of v1, v1beta1"
        errors.append(invalid(f"{path}.admissionReviewVersions", value["admissionReviewVersions"], detail))
    _validate_client(value.get("clientConfig") or {}, f"{path}.clientConfig", errors)


def _validate_client(client: Spec, path: str, errors: Errors) -> None:
    if ("url" in client) == ("service" in client):
        errors.append(required(path, "exactly one of url or service is required"))
    url = client.get("url")
    if url is not None and not url.startswith("https://"):
        errors.append(invalid(f"{path}.url", url, "'https' is the only allowed URL scheme"))


def webhook_rule(rule: Spec, path: str, context: Context) -> None:
    errors = context.errors
    for field in ("apiGroups", "apiVersions", "resources", "operations"):
        values = rule.get(field) or ()
        if not values:
            errors.append(required(f"{path}.{field}"))
        elif "*" in values and len(values) > 1 and field != "resources":
            detail = "if '*' is present, must not specify other "
            plural = {"apiGroups": "API groups", "apiVersions": "API versions"}.get(field, field)
            errors.append(invalid(f"{path}.{field}", values, detail + plural))
    for index, operation in enumerate(rule.get("operations") or ()):
        if operation not in _OPERATIONS:
            errors.append(unsupported(f"{path}.operations[{index}]", operation, _OPERATIONS))


def custom_resource_definition(body: Object, path: str, context: Context) -> None:
    errors, spec = context.errors, body.get("spec") or {}
    name, wanted = (body.get("metadata") or {}).get("name", ""), spec.get("names") or {}
    plural, group = wanted.get("plural", ""), spec.get("group", "")
    if name != f"{plural}.{group}":
        errors.append(invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    if not group:
        errors.append(required("spec.group"))
    elif names.dns_subdomain(group):
        errors.texts("spec.group", group, names.dns_subdomain(group))
    elif "." not in group:
        errors.append(invalid("spec.group", group, "should be a domain with at least one dot"))
    errors.choose("spec.scope", spec.get("scope"), ("Cluster", "Namespaced"))
    _validate_definition_names(wanted, errors)
    _validate_versions(spec.get("versions") or [], errors)
    from twinplane.controlplane.api.extensions.customresources.definition_validation import validate_definition

    errors.extend(validate_definition(body, context.old))


def _validate_definition_names(wanted: Spec, errors: Errors) -> None:
    for field in ("plural", "singular"):
        text = wanted.get(field, "")
        if text or field == "plural":
            errors.texts(f"spec.names.{field}", text, names.dns_1035_label(text))
    for field in ("kind", "listKind"):
        text = wanted.get(field, "")
        if not text:
            errors.append(required(f"spec.names.{field}"))
        elif not _KIND(text) or len(text) > 63:
            problems = names.dns_1035_label(text.lower()) or names.dns_1035_label("-")
            detail = "may have mixed case, but should otherwise match: " + problems[0]
            errors.append(invalid(f"spec.names.{field}", text, detail))
    for index, text in enumerate(wanted.get("shortNames") or ()):
        errors.texts(f"spec.names.shortNames[{index}]", text, names.dns_1035_label(text))
    if wanted.get("kind") and wanted.get("kind") == wanted.get("listKind"):
        detail = "kind and listKind may not be the same"
        errors.append(invalid("spec.names.listKind", wanted["listKind"], detail))


def _validate_versions(versions: list[Spec], errors: Errors) -> None:
    if not versions:
        errors.append(required("spec.versions", "must have exactly one version marked as storage version"))
    seen: set[str] = set()
    for index, version in enumerate(versions):
        at, name = f"spec.versions[{index}]", version.get("name", "")
        errors.texts(f"{at}.name", name, names.dns_1035_label(name))
        if name in seen:
            errors.append(
                invalid("spec.versions", [entry.get("name") for entry in versions], "must contain unique version names")
            )
        seen.add(name)
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is None:
            errors.append(required(f"{at}.schema.openAPIV3Schema", "schemas are required"))
        elif schema.get("type") != "object":
            shown = schema.get("type", "")
            detail = "must not be empty at the root" if not shown else 'only "object" is supported at the root'
            at = f"{at}.schema.openAPIV3Schema.type"
            errors.append(required(at, detail) if not shown else invalid(at, shown, "must be object at the root"))
    if versions and sum(bool(version.get("storage")) for version in versions) != 1:
        detail = "must have exactly one version marked as storage version"
        errors.append(invalid("spec.versions", [entry.get("name") for entry in versions], detail))


def priority_class(body: Object, path: str, context: Context) -> None:
    errors, value = context.errors, body.get("value", 0)
    name = (body.get("metadata") or {}).get("name", "")
    if name.startswith("system-"):
        if _SYSTEM.get(name) != value:
            detail = "priority class names with 'system-' prefix are reserved for system use only. error: "
            known = (
                f"{name} is not a known system priority class"
                if name not in _SYSTEM
                else f"value of {name} PriorityClass must be {_SYSTEM[name]}"
            )
            errors.append(forbidden("metadata.name", detail + known))
    elif value > _USER_PRIORITY:
        detail = f"maximum allowed value of a user defined priority is {_USER_PRIORITY}"
        errors.append(forbidden("value", detail))


def api_service(body: Object, path: str, context: Context) -> None:
    errors, spec = context.errors, body.get("spec") or {}
    group, version = spec.get("group", ""), spec.get("version", "")
    name = (body.get("metadata") or {}).get("name", "")
    if name != f"{version}.{group}":
        errors.append(
            invalid("metadata.name", name, 'must be `spec.version+"."+spec.group`: ' + f'"{version}.{group}"')
        )
    minimum = spec.get("groupPriorityMinimum", 0)
    if not 0 < minimum <= 20000:
        errors.append(invalid("spec.groupPriorityMinimum", minimum, "must be positive and less than 20000"))
    priority = spec.get("versionPriority", 0)
    if not 0 < priority <= 1000:
        errors.append(invalid("spec.versionPriority", priority, "must be positive and less than 1000"))
    if spec.get("insecureSkipTLSVerify") and spec.get("caBundle"):
        detail = "may not be true if caBundle is present"
        errors.append(invalid("spec.insecureSkipTLSVerify", True, detail))


VALIDATORS: dict[str, Visitor] = {
    "admissionregistration.v1.MutatingWebhook": webhook,
    "admissionregistration.v1.ValidatingWebhook": webhook,
    "admissionregistration.v1.RuleWithOperations": webhook_rule,
    _CRD + "CustomResourceDefinition": custom_resource_definition,
    _REGISTRATION + "APIService": api_service,
    "scheduling.v1.PriorityClass": priority_class,
}
