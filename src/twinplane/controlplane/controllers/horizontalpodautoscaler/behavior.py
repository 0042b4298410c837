"""What becomes of a proposal: stabilization, rate limits, bounds. Pure but for the history it is handed.

Without `spec.behavior` a target at most doubles (or grows to 4) at a time and shrinks to the highest proposal of the
last five minutes. With it, windows and policies of both directions decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any, NamedTuple

from twinplane.controlplane.controllers.horizontalpodautoscaler.replicas import Tolerance
from twinplane.kubeclient import quantity

DOWNSCALE_STABILIZATION_SECONDS = 300.0
TOLERANCE = 0.1
SCALE_UP: Mapping[str, Any] = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
SCALE_DOWN: Mapping[str, Any] = {
    "stabilizationWindowSeconds": DOWNSCALE_STABILIZATION_SECONDS,
    "selectPolicy": "Max",
    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
}
_UNLIMITED = (1 << 31) - 1


class Verdict(NamedTuple):
    """A reason and message of a condition; `status` is that of ScalingLimited or AbleToScale."""

    status: str
    reason: str
    message: str


_MATCHES = Verdict("True", "ReadyForNewScale", "recommended size matches current size")
_UP_STABILIZED = Verdict(
    "True",
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
)
_DOWN_STABILIZED = Verdict(
    "True",
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
)
_WITHIN = Verdict("False", "DesiredWithinRange", "the desired count is within the acceptable range")
_TOO_FAST_UP = Verdict(
    "True", "ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate"
)
_TOO_FAST_DOWN = Verdict(
    "True", "ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate"
)
_TOO_MANY = Verdict("True", "TooManyReplicas", "the desired replica count is more than the maximum replica count")
_TOO_FEW = Verdict("True", "TooFewReplicas", "the desired replica count is less than the minimum replica count")


class Event(NamedTuple):
    at: float
    replicas: int


@dataclass
class History:
    """Of one autoscaler, in memory: what was recommended, and what was done about it."""

    recommendations: list[Event] = field(default_factory=list)
    ups: list[Event] = field(default_factory=list)
    downs: list[Event] = field(default_factory=list)

    def note_scaling(self, before: int, after: int, now: float) -> None:
        (self.ups if after > before else self.downs).append(Event(now, abs(after - before)))

    def prune(self, behavior: Rules, now: float) -> None:
        """Forget what no window and no period reaches any more."""
        window = max(behavior.up["stabilizationWindowSeconds"], behavior.down["stabilizationWindowSeconds"])
        self.recommendations = [entry for entry in self.recommendations if entry.at >= now - window]
        periods = [policy["periodSeconds"] for rules in behavior for policy in rules["policies"]]
        longest = max(periods, default=0)
        self.ups = [entry for entry in self.ups if entry.at > now - longest]
        self.downs = [entry for entry in self.downs if entry.at > now - longest]


class Rules(NamedTuple):
    up: Mapping[str, Any]
    down: Mapping[str, Any]


class Size(NamedTuple):
    """Of the target, at the moment `now`, and how small and large it may be."""

    current: int
    minimum: int
    maximum: int
    now: float


class Outcome(NamedTuple):
    replicas: int
    able: Verdict
    limited: Verdict


def rules_of(spec: Mapping[str, Any]) -> Rules:
    """With the defaults that the API fills in."""
    given = spec.get("behavior") or {}
    return Rules(
        dict(SCALE_UP) | {key: value for key, value in (given.get("scaleUp") or {}).items() if value is not None},
        dict(SCALE_DOWN) | {key: value for key, value in (given.get("scaleDown") or {}).items() if value is not None},
    )


def tolerance_of(spec: Mapping[str, Any]) -> Tolerance:
    behavior = spec.get("behavior") or {}

    def given(direction: str) -> float:
        value = (behavior.get(direction) or {}).get("tolerance")
        return float(quantity.parse(value)) if value is not None else TOLERANCE

    return Tolerance(given("scaleDown"), given("scaleUp"))


def decided(spec: Mapping[str, Any], history: History, size: Size, proposed: int) -> Outcome:
    """The next size. Notes the proposal in the history."""
    rules = rules_of(spec)
    now = size.now
    if spec.get("behavior"):
        stable, able = _stabilized(rules, history, size, proposed)
        wanted, limit = _limited(rules, history, size, stable)
    else:
        recent = [
            entry.replicas for entry in history.recommendations if entry.at >= now - DOWNSCALE_STABILIZATION_SECONDS
        ]
        stable = max([proposed, *recent])
        able = _DOWN_STABILIZED if stable != proposed else _MATCHES
        wanted, limit = _clamped(size, stable)
    history.recommendations.append(Event(now, proposed))
    history.prune(rules, now)
    return Outcome(wanted, able, limit)


def _stabilized(rules: Rules, history: History, size: Size, proposed: int) -> tuple[int, Verdict]:
    """Between the lowest recent proposal (to grow to) and the highest (to shrink to) nothing changes."""

    def recent(window: float) -> list[int]:
        return [entry.replicas for entry in history.recommendations if entry.at > size.now - window]

    lowest = min([proposed, *recent(rules.up["stabilizationWindowSeconds"])])
    highest = max([proposed, *recent(rules.down["stabilizationWindowSeconds"])])
    stable = min(max(size.current, lowest), highest)
    if stable == proposed:
        return stable, _MATCHES
    return stable, _UP_STABILIZED if proposed >= size.current else _DOWN_STABILIZED


def _limited(rules: Rules, history: History, size: Size, wanted: int) -> tuple[int, Verdict]:
    current, now = size.current, size.now
    if wanted > current:
        limit = max(_highest(rules.up, history, current, now), current)
        most, why = (limit, _TOO_FAST_UP) if size.maximum > limit else (size.maximum, _TOO_MANY)
        if wanted > most:
            return most, why
    elif wanted < current:
        limit = min(_lowest(rules.down, history, current, now), current)
        least, why = (limit, _TOO_FAST_DOWN) if size.minimum < limit else (size.minimum, _TOO_FEW)
        if wanted < least:
            return least, why
    return wanted, _WITHIN


def _highest(rules: Mapping[str, Any], history: History, current: int, now: float) -> int:
    if rules["selectPolicy"] == "Disabled":
        return current
    proposals = []
    for policy in rules["policies"]:
        start = _at_start(history, current, policy["periodSeconds"], now)
        if policy["type"] == "Pods":
            proposals.append(start + policy["value"])
        else:
            # Rounded up, as a small target would never grow otherwise; in floating point: 100 and 10% are 111 upstream.
            proposals.append(ceil(start * (1 + policy["value"] / 100)))
    return (min if rules["selectPolicy"] == "Min" else max)(proposals, default=_UNLIMITED)


def _lowest(rules: Mapping[str, Any], history: History, current: int, now: float) -> int:
    if rules["selectPolicy"] == "Disabled":
        return current
    proposals = []
    for policy in rules["policies"]:
        start = _at_start(history, current, policy["periodSeconds"], now)
        if policy["type"] == "Pods":
            proposals.append(start - policy["value"])
        else:
            proposals.append(int(start * (1 - policy["value"] / 100)))
    return (max if rules["selectPolicy"] == "Min" else min)(proposals, default=0)


def _at_start(history: History, current: int, period: float, now: float) -> int:
    """The size when the period that ends now began."""
    return current - _changed(history.ups, period, now) + _changed(history.downs, period, now)


def _changed(events: Sequence[Event], period: float, now: float) -> int:
    return sum(entry.replicas for entry in events if entry.at > now - period)


def _clamped(size: Size, wanted: int) -> tuple[int, Verdict]:
    limit = max(2 * size.current, 4)
    most, why = (limit, _TOO_FAST_UP) if size.maximum > limit else (size.maximum, _TOO_MANY)
    if wanted < size.minimum:
        return size.minimum, _TOO_FEW
    return (most, why) if wanted > most else (wanted, _WITHIN)
