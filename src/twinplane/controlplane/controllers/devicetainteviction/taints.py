"""Which devices have NoExecute taints, and until when their claims may keep them. Reads informers, writes nothing.

A taint comes with the device's ResourceSlice, or from a DeviceTaintRule that selects the device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.device_claims import DeviceId, Result, device_of, results_of
from twinplane.kubeclient.informer_contract import Informer
from twinplane.kubeclient.meta import time_of, uid_of
from twinplane.kubeclient.node_fit import tolerates

NO_EXECUTE = "NoExecute"
_BY_POOL = "resource pool"


class Eviction(NamedTuple):
    when: float
    """Seconds since the epoch."""
    rules: frozenset[str]
    """uids of the DeviceTaintRules that are among its causes."""

    def joined(self, other: Eviction | None) -> Eviction:
        return self if other is None else Eviction(min(self.when, other.when), self.rules | other.rules)


class Cause(NamedTuple):
    taint: Mapping[str, Any]
    rule: str = ""
    """uid of the DeviceTaintRule; empty for a taint of the device's own."""


class DeviceTaints:
    def __init__(self, slices: Informer, rules: Informer | None) -> None:
        """`rules` is None where the API does not have them."""
        self._slices = slices
        self._rules = rules
        slices.add_index(_BY_POOL, lambda body: [_pool_key(*pool_of(body))])

    def tainted_in(self, pool: tuple[str, str]) -> set[DeviceId]:
        """Devices of a pool with NoExecute taints of their own, those of outdated slices included."""
        slices = self._slices.by_index(_BY_POOL, _pool_key(*pool))
        return {device for body in slices for device in tainted(body)}

    def eviction(self, claim: Object, *, simulated: Object | None = None) -> Eviction | None:
        """When the pods of a claim must go, None is never. `simulated` is a rule taken as one that evicts."""
        found: Eviction | None = None
        for result in results_of(claim):
            for cause in self._causes(device_of(result), simulated):
                when = _ends(result, cause.taint)
                if when is not None:
                    found = Eviction(when, frozenset(filter(None, (cause.rule,)))).joined(found)
        return found

    def _causes(self, device: DeviceId, simulated: Object | None) -> Iterator[Cause]:
        yield from map(Cause, self._own(device))
        if simulated is not None:
            if selects(simulated, device):
                yield Cause({**simulated["spec"]["taint"], "effect": NO_EXECUTE}, uid_of(simulated))
            return
        for rule in self._rules.list() if self._rules is not None else ():
            if rule["spec"]["taint"]["effect"] == NO_EXECUTE and selects(rule, device):
                yield Cause(rule["spec"]["taint"], uid_of(rule))

    def _own(self, device: DeviceId) -> Iterable[Mapping[str, Any]]:
        body = self.slice_of(device)
        entries = body["spec"].get("devices") or () if body is not None else ()
        return next((no_execute(entry) for entry in entries if entry["name"] == device[2]), ())

    def slice_of(self, device: DeviceId) -> Object | None:
        """The slice of the pool's latest generation that has the device."""
        slices = self._slices.by_index(_BY_POOL, _pool_key(*device[:2]))
        latest = max((generation_of(body) for body in slices), default=0)
        return next(
            (
                body
                for body in slices
                if generation_of(body) == latest
                and any(entry["name"] == device[2] for entry in body["spec"].get("devices") or ())
            ),
            None,
        )

    def count_selected(self, rule: Object) -> int:
        """Published devices that a rule selects."""
        latest: dict[tuple[str, str], int] = {}
        for body in self._slices.list():
            latest[pool_of(body)] = max(latest.get(pool_of(body), 0), generation_of(body))
        return sum(
            selects(rule, (*pool_of(body), entry["name"]))
            for body in self._slices.list()
            if generation_of(body) == latest[pool_of(body)]
            for entry in body["spec"].get("devices") or ()
        )


def pool_of(body: Object) -> tuple[str, str]:
    """Driver and pool of a ResourceSlice."""
    return body["spec"].get("driver", ""), (body["spec"].get("pool") or {}).get("name", "")


def generation_of(body: Object) -> int:
    return (body["spec"].get("pool") or {}).get("generation") or 0


def no_execute(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [taint for taint in entry.get("taints") or () if taint["effect"] == NO_EXECUTE]


def tainted(body: Object | None) -> set[DeviceId]:
    """Devices of a ResourceSlice with NoExecute taints."""
    if body is None:
        return set()
    return {(*pool_of(body), entry["name"]) for entry in body["spec"].get("devices") or () if no_execute(entry)}


def selects(rule: Object, device: DeviceId) -> bool:
    selector = rule["spec"].get("deviceSelector")
    if selector is None:
        return False
    fields = zip(("driver", "pool", "device"), device, strict=True)
    return all(selector.get(field) in (None, value) for field, value in fields)


def _ends(result: Result, taint: Mapping[str, Any]) -> float | None:
    """When a device's taint is no longer tolerated; None is never.

    As upstream's controller, which heeds only tolerations that name the effect.
    """
    tolerations = [
        entry
        for entry in result.get("tolerations") or ()
        if entry.get("effect") == NO_EXECUTE and tolerates(entry, taint)
    ]
    seconds = [entry.get("tolerationSeconds") for entry in tolerations]
    if None in seconds:
        return None
    return time_of(taint.get("timeAdded")) + min((max(0, bound) for bound in seconds), default=0)


def _pool_key(driver: str, pool: str) -> str:
    return f"{driver}/{pool}"
