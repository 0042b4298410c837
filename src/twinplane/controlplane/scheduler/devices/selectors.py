"""CEL selectors of devices: `device.driver`, `device.attributes[DOMAIN].NAME`, `device.capacity[DOMAIN].NAME`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from twinplane.controlplane.scheduler.devices.facts import Device, Json, qualified

if TYPE_CHECKING:
    from twinplane.controlplane.cel import Program

PROGRAMS_MAX = 1000
_DOMAINS = re.compile(r"""\.(attributes|capacity)\s*\[\s*["']([^"']+)["']\s*\]""")


class SelectorFailed(Exception):
    """In the words of the condition: `selector #0: CEL runtime error: ...`."""


def all_hold(selectors: list[Json], device: Device) -> bool:
    """Raises `SelectorFailed`."""
    return all(_holds(number, selector, device) for number, selector in enumerate(selectors))


def _holds(number: int, selector: Json, device: Device) -> bool:
    text = str((selector.get("cel") or {}).get("expression") or "")
    found = device.matches.get(text)
    if found is None:
        found = device.matches[text] = _evaluate(number, text, device)
    return found


def _evaluate(number: int, text: str, device: Device) -> bool:
    # The C++ implementation is loaded with the first selector: most clusters have none.
    from twinplane.controlplane.cel import CompileError, EvaluationError

    try:
        return _program(text).evaluate({"device": _variable(text, device)}) is True
    except CompileError as error:
        raise SelectorFailed(f"selector #{number}: CEL compile error: {error}") from None
    except EvaluationError as error:
        raise SelectorFailed(f"selector #{number}: CEL runtime error: {error}") from None


@lru_cache(PROGRAMS_MAX)
def _program(text: str) -> Program:
    from twinplane.controlplane.cel import compile_expression

    return compile_expression(text, {"device": "dyn"})


def _variable(text: str, device: Device) -> dict[str, Any]:
    from twinplane.controlplane.cel.libraries import quantities, semver

    attributes = {name: _value(value, semver.parsed) for name, value in device.attributes.items()}
    driver = device.id[0]
    capacity = {qualified(name, driver): quantities.parsed(item.value) for name, item in device.capacities.items()}
    found: dict[str, Any] = {
        "driver": driver,
        "allowMultipleAllocations": device.shared,
        "attributes": _by_domain(attributes),
        "capacity": _by_domain(capacity),
    }
    for group, domain in _DOMAINS.findall(text):
        # A domain that the device does not have is an empty one.
        found[group].setdefault(domain, {})
    return found


def _value(value: Json, version: Any) -> Any:
    kind, content = next(iter(value.items()))
    return version(content) if kind == "version" else content


def _by_domain(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        domain, _, identifier = name.rpartition("/")
        found.setdefault(domain, {})[identifier] = value
    return found
