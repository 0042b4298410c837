"""What steers scheduling: tolerations, taints, spreading, affinity."""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.api.types.strategy.equality import same
from twinplane.controlplane.api.types.validation import names
from twinplane.controlplane.api.types.validation.context import Context, Visitor
from twinplane.controlplane.api.types.validation.fields import duplicate, forbidden, invalid, unsupported

_OPERATORS = ("Equal", "Exists")
_COMPARISONS = ("Gt", "Lt")
"""Alpha in 1.36 and off: upstream names them among what is supported, and refuses them."""


def toleration(value: dict[str, Any], path: str, context: Context) -> None:
    errors = context.errors
    key, operator = value.get("key", ""), value.get("operator", "")
    if key:
        errors.texts(f"{path}.key", key, names.qualified_name(key))
    elif operator != "Exists":
        detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        errors.append(invalid(f"{path}.operator", operator, detail))
    if "tolerationSeconds" in value and value.get("effect") != "NoExecute":
        detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        errors.append(invalid(f"{path}.effect", value.get("effect", ""), detail))
    if operator == "Exists":
        if value.get("value"):
            detail = "value must be empty when `operator` is 'Exists'"
            errors.append(invalid(f"{path}.operator", value["value"], detail))
    elif operator in ("", "Equal"):
        problems = names.label_value(value.get("value", ""))
        if problems:
            errors.append(invalid(f"{path}.operator", value["value"], "; ".join(problems)))
    else:
        known = (*_OPERATORS, *_COMPARISONS) if operator in _COMPARISONS else _OPERATORS
        errors.append(unsupported(f"{path}.operator", operator, known))


def taint(value: dict[str, Any], path: str, context: Context) -> None:
    errors = context.errors
    if value.get("key"):
        errors.texts(f"{path}.key", value["key"], names.qualified_name(value["key"]))
    if value.get("value"):
        errors.texts(f"{path}.value", value["value"], names.label_value(value["value"]))


def node_spec(spec: dict[str, Any], path: str, context: Context) -> None:
    seen: set[tuple[str, str]] = set()
    for index, entry in enumerate(spec.get("taints") or ()):
        key = (entry.get("key", ""), entry.get("effect", ""))
        if key in seen:
            error = duplicate(f"{path}.taints[{index}]", entry)
            error.detail = "taints must be unique by key and effect pair"
            context.errors.append(error)
        seen.add(key)
    for index, block in enumerate(spec.get("podCIDRs") or ()):
        context.errors.texts(f"{path}.podCIDRs[{index}]", block, names.cidr(block))


def spread_constraint(value: dict[str, Any], path: str, context: Context) -> None:
    errors = context.errors
    skew = value.get("maxSkew", 0)
    if skew <= 0:
        errors.append(invalid(f"{path}.maxSkew", skew, "must be greater than zero"))
    if value.get("topologyKey"):
        errors.texts(f"{path}.topologyKey", value["topologyKey"], names.qualified_name(value["topologyKey"]))
    domains = value.get("minDomains")
    if domains is not None:
        if domains <= 0:
            errors.append(invalid(f"{path}.minDomains", domains, "must be greater than zero"))
        if value.get("whenUnsatisfiable") != "DoNotSchedule":
            detail = "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not " + str(
                value.get("whenUnsatisfiable", "")
            )
            errors.append(invalid(f"{path}.minDomains", domains, detail))
    _label_keys(value, path, context)


def _label_keys(value: dict[str, Any], path: str, context: Context) -> None:
    """`matchLabelKeys` are in the selector already where this is a pod: see the strategy of pods."""
    errors = context.errors
    selector = value.get("labelSelector")
    matched = value.get("matchLabelKeys") or []
    mismatched = value.get("mismatchLabelKeys") or []
    for field, keys in (("matchLabelKeys", matched), ("mismatchLabelKeys", mismatched)):
        if keys and selector is None:
            errors.append(forbidden(f"{path}.{field}", "must not be specified when labelSelector is not set"))
            continue
        for index, key in enumerate(keys):
            errors.texts(f"{path}.{field}[{index}]", key, names.qualified_name(key))
    seen = set((selector or {}).get("matchLabels") or {})
    for expression in (selector or {}).get("matchExpressions") or ():
        key = expression.get("key")
        if key in matched and key in seen:
            at = f"{path}[{matched.index(key)}]"
            errors.append(invalid(at, key, "exists in both matchLabelKeys and labelSelector"))
        seen.add(key)
    for index, key in enumerate(matched):
        if key in mismatched:
            at = f"{path}.matchLabelKeys[{index}]"
            errors.append(invalid(at, key, "exists in both matchLabelKeys and mismatchLabelKeys"))


def spread_constraints(spec: dict[str, Any], path: str, context: Context) -> None:
    seen: list[Any] = []
    for index, entry in enumerate(spec.get("topologySpreadConstraints") or ()):
        pair = [entry.get("topologyKey"), entry.get("whenUnsatisfiable")]
        if any(same(pair, other) for other in seen):
            shown = f"{{{pair[0]}, {pair[1]}}}"
            at = f"{path}.topologySpreadConstraints[{index}].{{topologyKey, whenUnsatisfiable}}"
            context.errors.append(duplicate(at, shown))
        seen.append(pair)


def pod_affinity_term(value: dict[str, Any], path: str, context: Context) -> None:
    if value.get("topologyKey"):
        problems = names.qualified_name(value["topologyKey"])
        context.errors.texts(f"{path}.topologyKey", value["topologyKey"], problems)
    for index, namespace in enumerate(value.get("namespaces") or ()):
        context.errors.texts(f"{path}.namespaces[{index}]", namespace, names.dns_label(namespace))
    _label_keys(value, path, context)


VALIDATORS: dict[str, Visitor] = {
    "core.v1.NodeSpec": node_spec,
    "core.v1.PodAffinityTerm": pod_affinity_term,
    "core.v1.PodSpec": spread_constraints,
    "core.v1.Taint": taint,
    "core.v1.Toleration": toleration,
    "core.v1.TopologySpreadConstraint": spread_constraint,
}
