"""Eviction thresholds, and which of them are met. Pure (kubelet `eviction/helpers.go`).

`Tracker` remembers what grace periods and the transition period of node conditions need.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from twinplane.dataplane.kubelet.durations import seconds_of
from twinplane.kubeclient.quantity import parse

MEMORY, PIDS, STORAGE, INODES = "memory", "pids", "ephemeral-storage", "inodes"
SIGNALS: Mapping[str, tuple[str, str]] = {
    "memory.available": (MEMORY, "MemoryPressure"),
    "nodefs.available": (STORAGE, "DiskPressure"),
    "nodefs.inodesFree": (INODES, "DiskPressure"),
    "imagefs.available": (STORAGE, "DiskPressure"),
    "imagefs.inodesFree": (INODES, "DiskPressure"),
    "containerfs.available": (STORAGE, "DiskPressure"),
    "containerfs.inodesFree": (INODES, "DiskPressure"),
    "pid.available": (PIDS, "PIDPressure"),
}
"""Signal -> (the resource that is starved, the node's condition)."""
CONDITIONS = ("MemoryPressure", "DiskPressure", "PIDPressure")


@dataclass(frozen=True, slots=True)
class Amount:
    """Absolute, or a share of the capacity."""

    value: int = 0
    percent: float | None = None

    def of(self, capacity: int) -> int:
        return self.value if self.percent is None else int(capacity * self.percent / 100)


@dataclass(frozen=True, slots=True)
class Threshold:
    signal: str
    amount: Amount
    grace: float = 0.0
    """Seconds for which a soft threshold must have been met."""
    is_hard: bool = True
    minimum_reclaim: Amount = field(default_factory=Amount)

    @property
    def resource(self) -> str:
        return SIGNALS[self.signal][0]


@dataclass(frozen=True, slots=True)
class Observation:
    available: int
    capacity: int
    at: float = 0.0


Observations = Mapping[str, Observation]


@dataclass(frozen=True, slots=True)
class Decision:
    """`thresholds` are met, with grace periods over, in the order in which they are to be dealt with."""

    thresholds: tuple[Threshold, ...]
    conditions: frozenset[str]


def thresholds_of(kubelet: Mapping[str, Any]) -> list[Threshold]:
    """Of a KubeletConfiguration. Raises ValueError for amounts that are none, and soft ones without a grace period."""
    reclaim = {signal: amount(text) for signal, text in (kubelet.get("evictionMinimumReclaim") or {}).items()}
    found = []
    for signal, text in (kubelet.get("evictionHard") or {}).items():
        found.append(Threshold(_known(signal), amount(text), minimum_reclaim=reclaim.get(signal, Amount())))
    graces = kubelet.get("evictionSoftGracePeriod") or {}
    for signal, text in (kubelet.get("evictionSoft") or {}).items():
        if signal not in graces:
            raise ValueError(f"grace period must be specified for the soft eviction threshold {signal}")
        grace = seconds_of(graces[signal])
        found.append(Threshold(_known(signal), amount(text), grace, False, reclaim.get(signal, Amount())))
    # A threshold of nothing is one that is turned off.
    return [each for each in found if each.amount != Amount() and each.amount.percent != 0]


def amount(text: object) -> Amount:
    given = str(text).strip()
    if not given.endswith("%"):
        return Amount(int(parse(given)))
    percent = float(given[:-1])
    if not 0 <= percent <= 100:
        raise ValueError(f"eviction percentage threshold {given} must be between 0% and 100%")
    return Amount(percent=percent)


def _known(signal: str) -> str:
    if signal not in SIGNALS:
        raise ValueError(f"unsupported eviction signal {signal}")
    return signal


def met(thresholds: Iterable[Threshold], observations: Observations, *, reclaimed: bool = False) -> list[Threshold]:
    """Those below which a signal is; with `reclaimed` those that are not resolved by their minimum reclaim."""
    found = []
    for each in thresholds:
        observed = observations.get(each.signal)
        if observed is None:
            continue
        least = each.amount.of(observed.capacity)
        if reclaimed:
            least += each.minimum_reclaim.of(observed.capacity)
        if observed.available < least:
            found.append(each)
    return found


class Tracker:
    def __init__(self, thresholds: list[Threshold], transition: float) -> None:
        """`transition` is evictionPressureTransitionPeriod in seconds."""
        self._thresholds = thresholds
        self._transition = transition
        self._since: dict[Threshold, float] = {}
        self._acted_on: list[Threshold] = []
        self._conditions: dict[str, float] = {}
        """When each was last observed."""

    def decide(self, observations: Observations, now: float) -> Decision:
        active = met(self._thresholds, observations)
        active += [each for each in met(self._acted_on, observations, reclaimed=True) if each not in active]
        self._since = {each: self._since.get(each, now) for each in active}
        for each in active:
            self._conditions[SIGNALS[each.signal][1]] = now
        ripe = [each for each, since in self._since.items() if now - since >= each.grace]
        self._acted_on = ripe
        # Memory first: what it may end in, the kernel does not ask about.
        ordered = sorted(ripe, key=lambda each: each.resource != MEMORY)
        return Decision(tuple(ordered), self.conditions(now))

    def conditions(self, now: float) -> frozenset[str]:
        """Those observed within the transition period, so that they do not flap."""
        return frozenset(name for name, at in self._conditions.items() if now - at < self._transition or at == now)
