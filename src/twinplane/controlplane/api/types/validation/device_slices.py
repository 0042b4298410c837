"""ResourceSlices: pools, devices with their attributes, capacities, counters and taints; and DeviceTaintRules.

Upstream: kubernetes/pkg/apis/resource/validation. What the scheduler reads of devices may rely on it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from twinplane.controlplane.api.types.validation import names
from twinplane.controlplane.api.types.validation.context import Context, Visitor
from twinplane.controlplane.api.types.validation.fields import (
    Errors,
    duplicate,
    forbidden,
    invalid,
    required,
    too_long,
    too_many,
)
from twinplane.kubeclient import quantity

Spec = dict[str, Any]
DRIVER_MAX, IDENTIFIER_MAX, VALUE_MAX, POOL_MAX = 63, 32, 64, 253
DEVICES_MAX, DEVICES_WITH_MORE_MAX = 128, 64
"""Of one slice; fewer when devices have taints or consume counters."""
SETS_MAX, COUNTERS_MAX, CONSUMPTIONS_MAX, ATTRIBUTES_MAX = 8, 32, 2, 32
TAINTS_MAX, CONDITIONS_MAX, OPTIONS_MAX = 16, 4, 10
WHERE = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")
_EFFECTS = ("NoExecute", "NoSchedule", "None")
_SCALARS = ("bool", "int", "string", "version", "bools", "ints", "strings", "versions")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*").fullmatch
_IDENTIFIER_TEXT = (
    "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters "
    "or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')"
)
_NUMBER, _PRE, _BUILD = r"(0|[1-9]\d*)", r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)", r"[0-9a-zA-Z-]+"
_VERSION = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-{_PRE}(\.{_PRE})*)?(\+{_BUILD}(\.{_BUILD})*)?", re.ASCII
).fullmatch


# Names, also of claims -----------------------------------------------------------------------------------------------


def driver_name(name: str, path: str, errors: Errors) -> None:
    if not errors.need(path, name):
        return
    if len(name) > DRIVER_MAX:
        errors.append(too_long(path, DRIVER_MAX))
    errors.texts(path, name, names.dns_subdomain(name.lower()))


def pool_name(name: str, path: str, errors: Errors) -> None:
    if not errors.need(path, name):
        return
    if len(name) > POOL_MAX:
        errors.append(too_long(path, POOL_MAX))
    for part in name.split("/"):
        errors.texts(path, part, names.dns_subdomain(part))


def label(name: str, path: str, errors: Errors) -> None:
    errors.texts(path, name, names.dns_label(name))


def attribute_name(name: str, path: str, errors: Errors) -> None:
    if name.count("/") > 1:
        # Upstream lets these pass.
        return
    domain, slash, identifier = name.rpartition("/")
    if slash:
        if domain:
            driver_name(domain, path, errors)
        else:
            errors.append(invalid(path, "", "the domain must not be empty"))
    if slash and not identifier:
        errors.append(invalid(path, "", "the name must not be empty"))
        return
    if len(identifier) > IDENTIFIER_MAX:
        errors.append(too_long(path, IDENTIFIER_MAX))
    if not _IDENTIFIER(identifier):
        errors.append(invalid(path, identifier, _IDENTIFIER_TEXT))


def distinct(keys: Sequence[str], path: str, errors: Errors) -> None:
    seen: set[str] = set()
    for index, key in enumerate(keys):
        if key in seen:
            errors.append(duplicate(f"{path}[{index}]", key))
        seen.add(key)


def at_most(items: Collection[Any], limit: int, path: str, errors: Errors) -> bool:
    if len(items) > limit:
        errors.append(too_many(path, len(items), limit))
    return len(items) <= limit


# Slices --------------------------------------------------------------------------------------------------------------


def resource_slice_spec(spec: Spec, path: str, context: Context) -> None:
    errors, pool = context.errors, spec.get("pool") or {}
    driver_name(spec.get("driver") or "", f"{path}.driver", errors)
    pool_name(pool.get("name") or "", f"{path}.pool.name", errors)
    if (count := pool.get("resourceSliceCount") or 0) <= 0:
        errors.append(invalid(f"{path}.pool.resourceSliceCount", count, "must be greater than zero"))
    if (generation := pool.get("generation") or 0) < 0:
        errors.append(invalid(f"{path}.pool.generation", generation, "must be greater than or equal to zero"))
    if context.old is not None:
        before = context.old.get("spec") or {}
        errors.unchanged(f"{path}.pool.name", pool.get("name"), (before.get("pool") or {}).get("name"))
        errors.unchanged(f"{path}.driver", spec.get("driver"), before.get("driver"))
        errors.unchanged(f"{path}.nodeName", spec.get("nodeName"), before.get("nodeName"))
    rule = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
    _place(spec, WHERE, path, errors, rule)
    if spec.get("sharedCounters") is not None and spec.get("devices") is not None:
        errors.append(invalid(path, "", "only one of `sharedCounters` or `devices` is allowed"))
    devices = spec.get("devices") or ()
    more = any(device.get("taints") or device.get("consumesCounters") for device in devices)
    if at_most(devices, DEVICES_WITH_MORE_MAX if more else DEVICES_MAX, f"{path}.devices", errors):
        for index, device in enumerate(devices):
            _device(device, f"{path}.devices[{index}]", errors, apart=bool(spec.get("perDeviceNodeSelection")))
        distinct([device.get("name") or "" for device in devices], f"{path}.devices", errors)
    sets = spec.get("sharedCounters") or ()
    if at_most(sets, SETS_MAX, f"{path}.sharedCounters", errors):
        for index, entry in enumerate(sets):
            _counters(entry, "name", f"{path}.sharedCounters[{index}]", errors)
        distinct([entry.get("name") or "" for entry in sets], f"{path}.sharedCounters", errors)


def _place(spec: Spec, fields: Sequence[str], path: str, errors: Errors, rule: str) -> None:
    """Exactly one of the fields that say on which nodes something can be used; `rule` says so."""
    given: list[str] = []
    for name in fields:
        value = spec.get(name)
        if value is None:
            continue
        at = f"{path}.{name}"
        if name == "nodeName":
            if not value:
                whole = "must be either unset or set to a non-empty string"
                errors.append(invalid(at, value, whole if fields is WHERE else "must not be empty"))
                continue
            errors.texts(at, value, names.dns_subdomain(value))
        elif name == "nodeSelector":
            terms = value.get("nodeSelectorTerms") or []
            if fields is WHERE and len(terms) != 1:
                detail = "must have exactly one node selector term"
                errors.append(invalid(f"{at}.nodeSelectorTerms", terms, detail))
        elif not value:
            errors.append(invalid(at, value, "must be either unset or set to true"))
            continue
        given.append(f"`{name}`")
    if not given:
        errors.append(required(path, rule))
    elif len(given) > 1:
        more = ", but multiple fields are set" if fields is WHERE else ""
        errors.append(invalid(path, f"{{{', '.join(given)}}}", rule + more))


def _device(device: Spec, path: str, errors: Errors, *, apart: bool) -> None:
    label(device.get("name") or "", f"{path}.name", errors)
    attributes, capacity = device.get("attributes") or {}, device.get("capacity") or {}
    if len(attributes) + len(capacity) > ATTRIBUTES_MAX:
        detail = f"the total number of attributes and capacities must not exceed {ATTRIBUTES_MAX}"
        errors.append(invalid(path, len(attributes) + len(capacity), detail))
    for name, value in attributes.items():
        attribute_name(name, f"{path}.attributes", errors)
        _attribute(value, f"{path}.attributes[{name}]", errors)
    for name, value in capacity.items():
        attribute_name(name, f"{path}.capacity", errors)
        _capacity(value, f"{path}.capacity[{name}]", errors, shared=bool(device.get("allowMultipleAllocations")))
    at_most(device.get("taints") or (), TAINTS_MAX, f"{path}.taints", errors)
    consumed = device.get("consumesCounters") or ()
    if at_most(consumed, CONSUMPTIONS_MAX, f"{path}.consumesCounters", errors):
        for index, entry in enumerate(consumed):
            _counters(entry, "counterSet", f"{path}.consumesCounters[{index}]", errors)
        distinct([entry.get("counterSet") or "" for entry in consumed], f"{path}.consumesCounters", errors)
    if apart:
        rule = (
            "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set "
            "to true in the ResourceSlice spec"
        )
        _place(device, WHERE[:3], path, errors, rule)
    elif any(device.get(name) is not None for name in WHERE[:3]):
        detail = (
            "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in "
            "the ResourceSlice spec"
        )
        errors.append(invalid(path, None, detail))
    binding_conditions(device, path, errors)


def binding_conditions(device: Spec, path: str, errors: Errors) -> None:
    good, bad = device.get("bindingConditions") or [], device.get("bindingFailureConditions") or []
    for name, values in (("bindingConditions", good), ("bindingFailureConditions", bad)):
        if at_most(values, CONDITIONS_MAX, f"{path}.{name}", errors):
            for index, value in enumerate(values):
                errors.texts(f"{path}.{name}[{index}]", value, names.qualified_name(value))
        distinct(values, f"{path}.{name}", errors)
    for index, value in enumerate(bad):
        if value in good:
            detail = "bindingFailureConditions must not overlap with bindingConditions"
            errors.append(invalid(f"{path}.bindingFailureConditions[{index}]", value, detail))
    if bad and not good:
        detail = "bindingConditions are required to use bindingFailureConditions"
        errors.append(invalid(f"{path}.bindingConditions", good, detail))
    if good and not bad:
        detail = "bindingFailureConditions are required to use bindingConditions"
        errors.append(invalid(f"{path}.bindingFailureConditions", bad, detail))


def _counters(entry: Spec, name: str, path: str, errors: Errors) -> None:
    if errors.need(f"{path}.{name}", entry.get(name)):
        label(entry[name], f"{path}.{name}", errors)
    counters = entry.get("counters") or {}
    if errors.need(f"{path}.counters", counters) and at_most(counters, COUNTERS_MAX, f"{path}.counters", errors):
        for counter in counters:
            label(counter, f"{path}.counters", errors)


def _attribute(value: Spec, path: str, errors: Errors) -> None:
    given = [kind for kind in _SCALARS if (value or {}).get(kind) is not None]
    if len(given) != 1:
        errors.append(invalid(path, value if given else "", "exactly one value must be specified"))
    for kind in ("string", "version"):
        text = (value or {}).get(kind)
        if text is None:
            continue
        if kind == "version" and not _VERSION(text):
            errors.append(invalid(f"{path}.{kind}", text, "must be a string compatible with semver.org spec 2.0.0"))
        if len(text) > VALUE_MAX:
            errors.append(too_long(f"{path}.{kind}", VALUE_MAX))


# Capacities ----------------------------------------------------------------------------------------------------------


def _capacity(value: Spec, path: str, errors: Errors, *, shared: bool) -> None:
    policy, at = (value or {}).get("requestPolicy"), f"{path}.requestPolicy"
    if policy is None:
        return
    if not shared:
        errors.append(forbidden(at, "allowMultipleAllocations must be true"))
        return
    there = str(value.get("value") or "0")
    choices, limits, default = policy.get("validValues") or [], policy.get("validRange"), policy.get("default")
    if choices and limits is not None:
        detail = 'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time'
        errors.append(forbidden(at, detail))
        return
    if not choices and limits is None:
        return
    kind = "validValues" if choices else "validRange"
    if default is None:
        errors.append(required(f"{at}.default", f"required when {kind} is defined"))
    elif choices:
        _choices([str(choice) for choice in choices], str(default), there, f"{at}.{kind}", errors)
    else:
        _range(limits, str(default), there, f"{at}.{kind}", errors)


def _choices(choices: list[str], default: str, there: str, path: str, errors: Errors) -> None:
    values = [quantity.parse(choice) for choice in choices]
    few = len(choices) <= OPTIONS_MAX
    for index in range(1, len(values)):
        if values[index - 1] > values[index]:
            errors.append(invalid(f"{path}[{index}]", choices[index], "values must be sorted in ascending order"))
    few = at_most(choices, OPTIONS_MAX, path, errors)
    if few:
        for index, value in enumerate(values):
            if value > quantity.parse(there):
                detail = f"option is larger than capacity value: {there}"
                errors.append(invalid(f"{path}[{index}]", choices[index], detail))
        distinct([str(quantity.whole(choice)) for choice in choices], path, errors)
    if not few or quantity.parse(default) not in values:
        errors.append(invalid(path, default, "default value is not valid according to the requestPolicy"))


def _range(limits: Spec, default: str, there: str, path: str, errors: Errors) -> None:
    least, most, step = limits.get("min"), limits.get("max"), limits.get("step")
    if least is None:
        errors.append(required(f"{path}.min", "required when validRange is defined"))
        return
    low, value, top = quantity.parse(str(least)), quantity.parse(default), quantity.parse(there)
    if low > top:
        errors.append(invalid(f"{path}.min", str(least), f"min is larger than capacity value: {there}"))
    if value < low:
        errors.append(invalid(f"{path}.min", default, f"default is less than min: {least}"))
    if most is not None:
        high = quantity.parse(str(most))
        if low > high:
            errors.append(invalid(f"{path}.max", str(least), f"min is larger than max: {most}"))
        if high > top:
            errors.append(invalid(f"{path}.max", str(most), f"max is larger than capacity value: {there}"))
        if value > high:
            errors.append(invalid(f"{path}.max", default, f"default is more than max: {most}"))
    if step is not None:
        if low + quantity.parse(str(step)) > top:
            sum_ = quantity.render(low + quantity.parse(str(step)), quantity.format_of(str(least)))
            detail = f"one step {sum_} is larger than capacity value: {there}"
            errors.append(invalid(f"{path}.step", str(step), detail))
        _step(str(least), str(step), [default, *([str(most)] if most is not None else [])], f"{path}.step", errors)


def _step(least: str, step: str, multiples: list[str], path: str, errors: Errors) -> None:
    each, first = quantity.whole(step), quantity.whole(least)
    if each <= 0:
        # Upstream divides by it: here it is refused.
        errors.append(invalid(path, step, "must be greater than zero"))
        return
    for text in multiples:
        if (quantity.whole(text) - first) % each:
            detail = f"value is not a multiple of a given step ({step}) from ({least})"
            errors.append(invalid(path, text, detail))


# Taints --------------------------------------------------------------------------------------------------------------


def device_taint(taint: Spec, path: str, context: Context) -> None:
    errors = context.errors
    errors.texts(f"{path}.key", taint.get("key") or "", names.qualified_name(taint.get("key") or ""))
    value = taint.get("value")
    if value:
        errors.texts(f"{path}.value", value, names.label_value(value))
    errors.choose(f"{path}.effect", taint.get("effect"), _EFFECTS)


def device_toleration(toleration: Spec, path: str, context: Context) -> None:
    errors = context.errors
    key, value, operator = toleration.get("key"), toleration.get("value") or "", toleration.get("operator")
    if key:
        errors.texts(f"{path}.key", key, names.qualified_name(key))
    errors.choose(f"{path}.operator", operator, ("Equal", "Exists"))
    if operator == "Exists" and value:
        errors.append(invalid(f"{path}.value", value, "must be empty for operator `Exists`"))
    elif operator == "Equal":
        errors.texts(f"{path}.value", value, names.label_value(value))
    errors.choose(f"{path}.effect", toleration.get("effect"), _EFFECTS, optional=True)


def device_taint_selector(selector: Spec, path: str, context: Context) -> None:
    for name, check in (("driver", driver_name), ("pool", pool_name), ("device", label)):
        if selector.get(name) is not None:
            check(selector[name], f"{path}.{name}", context.errors)


VALIDATORS: dict[str, Visitor] = {
    "resource.v1.ResourceSliceSpec": resource_slice_spec,
    "resource.v1.DeviceTaint": device_taint,
    "resource.v1.DeviceToleration": device_toleration,
    "resource.v1.DeviceTaintSelector": device_taint_selector,
}
