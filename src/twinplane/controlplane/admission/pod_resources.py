"""What a pod asks for in all: the sum that quotas and limit ranges are held against.

The rule is upstream's (`k8s.io/component-helpers/resource`): containers and sidecars add up, init containers run one
after the other, so the larger of both counts; pod-level resources replace the sum; overhead comes on top.
"""

from __future__ import annotations

from typing import Literal

from twinplane.controlplane.admission.plugin import amount, entries
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.quantity import Value

Amounts = dict[str, Value]


def amounts(listed: object) -> Amounts:
    """A resource list with its quantities as values."""
    return {str(name): amount(text) for name, text in listed.items()} if isinstance(listed, dict) else {}


def added(first: Amounts, second: Amounts) -> Amounts:
    return first | {name: first.get(name, 0) + value for name, value in second.items()}


def larger(first: Amounts, second: Amounts) -> Amounts:
    return first | {name: max(first.get(name, 0), value) for name, value in second.items()}


def total(spec: Object, kind: Literal["requests", "limits"]) -> Amounts:
    """Of a pod's spec."""
    containers: Amounts = {}
    for container in entries(spec, "containers"):
        containers = added(containers, _of(container, kind))
    sidecars: Amounts = {}
    initial: Amounts = {}
    for container in entries(spec, "initContainers"):
        mine = _of(container, kind)
        if container.get("restartPolicy") == "Always":
            sidecars = added(sidecars, mine)
            initial = larger(initial, sidecars)
        else:
            initial = larger(initial, added(sidecars, mine))
    found = larger(added(containers, sidecars), initial)
    found |= _of(spec, kind)
    overhead = amounts(spec.get("overhead"))
    if kind == "limits":
        overhead = {name: value for name, value in overhead.items() if name in found}
    return added(found, overhead)


def _of(holder: Object, kind: str) -> Amounts:
    return amounts((holder.get("resources") or {}).get(kind))
