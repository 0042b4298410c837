"""Prometheus's text format: what the kubelets, simulated and real, and the node's other agents answer scrapes with.

Two ways to it: families of samples that are computed for each scrape (`render`), and a `Registry` of counters,
gauges and histograms that their owners change. Format: prometheus.io/docs/instrumenting/exposition_formats.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
DEFAULT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds; those of client_golang."""


class Sample(NamedTuple):
    labels: str
    value: float
    at: float | None = None
    """When it was measured, in seconds since the epoch."""
    suffix: str = ""
    """Of the family's name: `_bucket`, `_sum`, `_count`."""


class Family(NamedTuple):
    name: str
    help: str
    type: str
    samples: list[Sample]


def render(families: Iterable[Family]) -> str:
    lines: list[str] = []
    for family in families:
        lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.type}"]
        for labels, value, at, suffix in family.samples:
            stamp = "" if at is None else f" {int(at * 1000)}"
            lines.append(f"{family.name}{suffix}{labels} {number(value)}{stamp}")
    return "\n".join(lines) + "\n"


def number(value: float) -> str:
    """Whole numbers to the last digit (counters of bytes and nanoseconds), others as short as they are exact."""
    return str(value) if isinstance(value, int) else f"{value:.15g}"


def labelled(**labels: str) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{escaped(value)}"' for key, value in sorted(labels.items())) + "}"


def escaped(value: str) -> str:
    if "\\" not in value and '"' not in value and "\n" not in value:
        return value
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class Metric(Protocol):
    def family(self) -> Family: ...


class Counter:
    """`counter.add("create_container")`: one value for each set of label values. Also a gauge (`kind`)."""

    def __init__(self, name: str, help: str, labels: Sequence[str] = (), *, kind: str = "counter") -> None:
        self._name, self._help, self._kind = name, help, kind
        self._labels = tuple(labels)
        self._values: dict[tuple[str, ...], float] = {} if labels else {(): 0}

    def add(self, *labels: str, amount: float = 1) -> None:
        self._values[labels] = self._values.get(labels, 0) + amount

    def set(self, value: float, *labels: str) -> None:
        self._values[labels] = value

    def value(self, *labels: str) -> float:
        return self._values.get(labels, 0)

    def forget(self, *labels: str) -> None:
        """All series whose first labels these are."""
        self._values = {key: value for key, value in self._values.items() if key[: len(labels)] != labels}

    def family(self) -> Family:
        samples = [Sample(_named(self._labels, key), value) for key, value in sorted(self._values.items())]
        return Family(self._name, self._help, self._kind, samples)


class Histogram:
    def __init__(
        self, name: str, help: str, labels: Sequence[str] = (), *, buckets: Sequence[float] = DEFAULT_BUCKETS
    ) -> None:
        self._name, self._help = name, help
        self._labels = tuple(labels)
        self._buckets = tuple(buckets)
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}
        if not labels:
            self._row(())

    def observe(self, value: float, *labels: str) -> None:
        self._row(labels)[bisect_left(self._buckets, value)] += 1
        self._sums[labels] += value

    def forget(self, *labels: str) -> None:
        """All series whose first labels these are."""
        for key in [key for key in self._counts if key[: len(labels)] == labels]:
            del self._counts[key], self._sums[key]

    def family(self) -> Family:
        return Family(self._name, self._help, "histogram", [*self._samples()])

    def _row(self, labels: tuple[str, ...]) -> list[int]:
        if labels not in self._counts:
            self._counts[labels], self._sums[labels] = [0] * (len(self._buckets) + 1), 0.0
        return self._counts[labels]

    def _samples(self) -> Iterator[Sample]:
        bounds = [*(f"{bound:g}" for bound in self._buckets), "+Inf"]
        for key in sorted(self._counts):
            total = 0
            named = dict(zip(self._labels, key, strict=True))
            for bound, count in zip(bounds, self._counts[key], strict=True):
                total += count
                yield Sample(labelled(**named, le=bound), total, suffix="_bucket")
            yield Sample(labelled(**named), self._sums[key], suffix="_sum")
            yield Sample(labelled(**named), total, suffix="_count")


AnyMetric = TypeVar("AnyMetric", bound=Metric)


class Registry:
    def __init__(self) -> None:
        self._metrics: list[Metric] = []

    def add(self, metric: AnyMetric) -> AnyMetric:
        self._metrics.append(metric)
        return metric

    def families(self) -> list[Family]:
        """Those that have a sample, in the order of their names."""
        found = (metric.family() for metric in self._metrics)
        return sorted((family for family in found if family.samples), key=lambda family: family.name)


def _named(names: Sequence[str], values: Sequence[str]) -> str:
    return labelled(**dict(zip(names, values, strict=True)))
