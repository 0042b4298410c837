"""FlowSchemas and PriorityLevelConfigurations. Source: upstream's `pkg/apis/flowcontrol/validation`."""

from __future__ import annotations

import math
from typing import Any

from twinplane.controlplane.api.types.validation import names
from twinplane.controlplane.api.types.validation.context import Context, Visitor
from twinplane.controlplane.api.types.validation.fields import Errors, forbidden, invalid, required, unsupported
from twinplane.kubeclient.contract import Object

_EXEMPT = "exempt"
_MAX_PRECEDENCE = 10_000
_MAX_QUEUES = 10_000_000
_MAX_HASH_BITS = 60
_METHODS = ("ByNamespace", "ByUser")
_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
_SUBJECTS = {"Group": "group", "ServiceAccount": "serviceAccount", "User": "user"}
_NAMESPACES = "each member of this list must be '*' or a DNS-1123 label; "


def flow_schema(body: Object, path: str, context: Context) -> None:
    errors = context.errors
    spec, name = body.get("spec") or {}, (body.get("metadata") or {}).get("name", "")
    precedence = spec.get("matchingPrecedence") or 0
    at = "spec.matchingPrecedence"
    if precedence <= 0:
        errors.append(invalid(at, precedence, "must be a positive value"))
    if precedence > _MAX_PRECEDENCE:
        errors.append(invalid(at, precedence, f"must not be greater than {_MAX_PRECEDENCE}"))
    if precedence == 1 and name != _EXEMPT:
        errors.append(invalid(at, precedence, "only the schema named 'exempt' may have matchingPrecedence 1"))
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type") not in _METHODS:
        errors.append(unsupported("spec.distinguisherMethod.type", method, _METHODS))
    level = (spec.get("priorityLevelConfiguration") or {}).get("name")
    if errors.need("spec.priorityLevelConfiguration.name", level, "must reference a priority level"):
        errors.texts("spec.priorityLevelConfiguration.name", level, names.dns_subdomain(level))
    for index, rule in enumerate(spec.get("rules") or ()):
        _rule(rule, f"spec.rules[{index}]", errors)
    fixed = _mandatory("FlowSchema", name)
    if fixed is not None and _kept(spec) != _kept(fixed):
        errors.append(invalid("spec", spec, f"spec of '{name}' must equal the fixed value"))


def priority_level(body: Object, path: str, context: Context) -> None:
    errors = context.errors
    spec, name = body.get("spec") or {}, (body.get("metadata") or {}).get("name", "")
    kind = spec.get("type")
    if (name == _EXEMPT) != (kind == "Exempt"):
        errors.append(invalid("spec.type", kind or "", "must be 'Exempt' if and only if `name` is 'exempt'"))
    limited, exempt = spec.get("limited"), spec.get("exempt")
    if kind == "Exempt":
        if limited is not None:
            errors.append(forbidden("spec.limited", "must be nil if the type is not Limited"))
        _shares(exempt or {}, "spec.exempt", errors)
    elif kind == "Limited":
        if exempt is not None:
            errors.append(forbidden("spec.exempt", "must be nil if the type is Limited"))
        if limited is None:
            errors.append(required("spec.limited", "must not be empty when type is Limited"))
        else:
            _limited(limited, "spec.limited", errors)
    fixed = _mandatory("PriorityLevelConfiguration", name)
    if fixed is None:
        return
    if name == _EXEMPT:
        spec, fixed = {**spec, "exempt": None}, {**fixed, "exempt": None}
    if _kept(spec) != _kept(fixed):
        except_for = " except the 'spec.exempt' field" if name == _EXEMPT else ""
        errors.append(invalid("spec", body["spec"], f"spec of '{name}'{except_for} must equal the fixed value"))


def _limited(limited: Object, path: str, errors: Errors) -> None:
    _shares(limited, path, errors)
    borrowing = limited.get("borrowingLimitPercent")
    if borrowing is not None and borrowing < 0:
        detail = "if specified, must be a non-negative integer"
        errors.append(invalid(f"{path}.borrowingLimitPercent", borrowing, detail))
    response = limited.get("limitResponse") or {}
    queuing, at = response.get("queuing"), f"{path}.limitResponse.queuing"
    if response.get("type") == "Reject" and queuing is not None:
        errors.append(forbidden(at, "must be nil if limited.limitResponse.type is not Limited"))
    if response.get("type") == "Queue":
        if queuing is None:
            errors.append(required(at, "must not be empty if limited.limitResponse.type is Limited"))
        else:
            _queuing(queuing, at, errors)


def _shares(level: Object, path: str, errors: Errors) -> None:
    shares, lendable = level.get("nominalConcurrencyShares"), level.get("lendablePercent")
    if shares is not None and shares < 0:
        errors.append(invalid(f"{path}.nominalConcurrencyShares", shares, "must be a non-negative integer"))
    if lendable is not None:
        errors.within(f"{path}.lendablePercent", lendable, 0, 100)


def _queuing(queuing: Object, path: str, errors: Errors) -> None:
    queues, hand = queuing.get("queues") or 0, queuing.get("handSize") or 0
    length = queuing.get("queueLengthLimit") or 0
    if length <= 0:
        errors.append(invalid(f"{path}.queueLengthLimit", length, "must be positive"))
    if queues <= 0:
        errors.append(invalid(f"{path}.queues", queues, "must be positive"))
    elif queues > _MAX_QUEUES:
        errors.append(invalid(f"{path}.queues", queues, f"must not be greater than {_MAX_QUEUES}"))
    if hand <= 0:
        errors.append(invalid(f"{path}.handSize", hand, "must be positive"))
    elif hand > queues:
        errors.append(invalid(f"{path}.handSize", hand, f"should not be greater than queues ({queues})"))
    elif math.ceil(math.log2(queues) * hand) > _MAX_HASH_BITS:
        detail = (
            f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than "
            f"{_MAX_HASH_BITS}"
        )
        errors.append(invalid(f"{path}.handSize", hand, detail))


def _rule(rule: Object, path: str, errors: Errors) -> None:
    if errors.need(f"{path}.subjects", rule.get("subjects"), "subjects must contain at least one value"):
        for index, subject in enumerate(rule["subjects"]):
            _subject(subject, f"{path}.subjects[{index}]", errors)
    resources, urls = rule.get("resourceRules") or (), rule.get("nonResourceRules") or ()
    if not resources and not urls:
        errors.append(required(path, "at least one of resourceRules and nonResourceRules has to be non-empty"))
    for index, each in enumerate(resources):
        _resource_rule(each, f"{path}.resourceRules[{index}]", errors)
    for index, each in enumerate(urls):
        at = f"{path}.nonResourceRules[{index}]"
        _verbs(each.get("verbs") or [], f"{at}.verbs", errors)
        given = each.get("nonResourceURLs") or []
        detail = "nonResourceURLs must contain at least one value"
        if errors.need(f"{at}.nonResourceURLs", given, detail) and not _wildcard(
            given, f"{at}.nonResourceURLs", "non-resource URLs", errors
        ):
            for number, url in enumerate(given):
                problem = _url_problem(url)
                if problem:
                    errors.append(invalid(f"{at}.nonResourceURLs[{number}]", url, problem))


def _subject(subject: Object, path: str, errors: Errors) -> None:
    kind = subject.get("kind") or ""
    own = _SUBJECTS.get(kind)
    if own is None:
        errors.append(unsupported(f"{path}.kind", kind, _SUBJECTS))
        return
    found = subject.get(own)
    if found is None:
        errors.append(required(f"{path}.{own}", f"{own} is required when subject kind is '{kind}'"))
    elif errors.need(f"{path}.{own}.name", found.get("name")) and kind == "ServiceAccount" and found["name"] != "*":
        errors.texts(f"{path}.{own}.name", found["name"], names.dns_subdomain(found["name"]))
    if found is not None and kind == "ServiceAccount":
        at, namespace = f"{path}.{own}.namespace", found.get("namespace")
        if errors.need(at, namespace, "must specify namespace for service account"):
            errors.texts(at, namespace, names.dns_label(namespace))
    for other, field in _SUBJECTS.items():
        if other != kind and subject.get(field) is not None:
            detail = f"{field} is forbidden when subject kind is not '{other}'"
            errors.append(forbidden(f"{path}.{field}", detail))


def _resource_rule(rule: Object, path: str, errors: Errors) -> None:
    _verbs(rule.get("verbs") or [], f"{path}.verbs", errors)
    for field, one, words in (("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")):
        given = rule.get(field) or []
        if errors.need(f"{path}.{field}", given, f"resource rules must supply at least one {one}"):
            _wildcard(given, f"{path}.{field}", words, errors)
    namespaces, at = rule.get("namespaces") or [], f"{path}.namespaces"
    if not namespaces and not rule.get("clusterScope"):
        errors.append(required(at, "resource rules that are not cluster scoped must supply at least one namespace"))
    elif not _wildcard(namespaces, at, "namespaces", errors):
        for index, namespace in enumerate(namespaces):
            errors.texts(f"{at}[{index}]", namespace, [_NAMESPACES + text for text in names.dns_label(namespace)])


def _verbs(verbs: list[str], path: str, errors: Errors) -> None:
    if not errors.need(path, verbs, "verbs must contain at least one value"):
        return
    if not _wildcard(verbs, path, "verbs", errors) and not set(verbs).issubset(_VERBS):
        errors.append(unsupported(path, verbs, _VERBS))


def _wildcard(values: list[str], path: str, words: str, errors: Errors) -> bool:
    """Whether everything is meant; then nothing else may be named."""
    if "*" not in values:
        return False
    if len(values) > 1:
        errors.append(invalid(path, values, f"if '*' is present, must not specify other {words}"))
    return True


def _url_problem(url: str) -> str:
    if not url:
        return "must not be empty"
    if url == "/":
        return ""
    if not url.startswith("/"):
        return "must start with slash"
    if " " in url:
        return "must not contain white-space"
    if "//" in url:
        return "must not contain double slash"
    if url.count("*") > 1 or ("*" in url and not url.endswith("/*")):
        return "wildcard can only do suffix matching"
    return ""


def _mandatory(kind: str, name: str) -> Object | None:
    """The spec of an object that every cluster has and that nobody may change."""
    if name not in (_EXEMPT, "catch-all"):
        return None
    from twinplane.controlplane.api.fairness.bootstrap import MANDATORY_LEVELS, MANDATORY_SCHEMAS

    fixed = MANDATORY_SCHEMAS if kind == "FlowSchema" else MANDATORY_LEVELS
    return next(dict(each["spec"]) for each in fixed if each["metadata"]["name"] == name)


def _kept(value: Any) -> Any:
    """Without what is empty, as Go compares semantically."""
    if isinstance(value, dict):
        return {key: kept for key, each in value.items() if (kept := _kept(each)) not in (None, "", [], {}, 0, False)}
    return [_kept(each) for each in value] if isinstance(value, list | tuple) else value


VALIDATORS: dict[str, Visitor] = {
    "flowcontrol.v1.FlowSchema": flow_schema,
    "flowcontrol.v1.PriorityLevelConfiguration": priority_level,
}
