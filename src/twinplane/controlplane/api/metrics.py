"""The API server's own metrics in Prometheus text, under the names that upstream uses.

Counting is two dictionary updates a request; text is made only when /metrics is read.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import NamedTuple

BUCKETS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60)
"""Seconds; upstream's for apiserver_request_duration_seconds."""


class Labels(NamedTuple):
    verb: str
    group: str
    version: str
    resource: str
    subresource: str
    scope: str


class Histogram:
    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds


class Metrics:
    def __init__(self) -> None:
        self._requests: dict[tuple[Labels, int], int] = {}
        self._durations: dict[Labels, Histogram] = {}
        self.in_flight = {"readOnly": 0, "mutating": 0}
        self.deprecated: set[Labels] = set()
        """What was asked for of deprecated versions."""

    def observe(self, labels: Labels, code: int, seconds: float) -> None:
        """`seconds` from the request's arrival to its answer (watches: until the stream began)."""
        key = (labels, code)
        self._requests[key] = self._requests.get(key, 0) + 1
        histogram = self._durations.get(labels)
        if histogram is None:
            histogram = self._durations[labels] = Histogram()
        histogram.observe(seconds)

    def text(self, objects: Mapping[str, int], watchers: int) -> str:
        lines = [
            "# HELP apiserver_request_total Counter of apiserver requests by verb, resource and HTTP response code.",
            "# TYPE apiserver_request_total counter",
        ]
        for (labels, code), count in self._requests.items():
            lines.append(f"apiserver_request_total{{{_pairs(labels, code=str(code))}}} {count}")
        lines += [
            "# HELP apiserver_request_duration_seconds Response latency distribution in seconds by verb and resource.",
            "# TYPE apiserver_request_duration_seconds histogram",
        ]
        for labels, histogram in self._durations.items():
            lines += _histogram("apiserver_request_duration_seconds", labels, histogram)
        lines += _gauge("apiserver_current_inflight_requests", "request_kind", self.in_flight)
        lines += _gauge("apiserver_storage_objects", "resource", objects)
        lines += ["# TYPE apiserver_registered_watchers gauge", f"apiserver_registered_watchers {watchers}"]
        lines += _requested_deprecated(self.deprecated)
        return "\n".join(lines) + "\n"


def _requested_deprecated(asked: Iterable[Labels]) -> Iterable[str]:
    name = "apiserver_requested_deprecated_apis"
    yield f"# TYPE {name} gauge"
    for each in sorted(asked):
        fields = ("group", "version", "resource", "subresource")
        pairs = ",".join(f'{field}="{_escaped(getattr(each, field))}"' for field in fields)
        yield f'{name}{{{pairs},removed_release=""}} 1'


def _pairs(labels: Labels, **more: str) -> str:
    named = [*zip(labels._fields, labels, strict=True), *more.items()]
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in (("component", "apiserver"), *named))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _histogram(name: str, labels: Labels, histogram: Histogram) -> Iterable[str]:
    below = 0
    for bound, count in zip((*map(str, BUCKETS), "+Inf"), histogram.counts, strict=True):
        below += count
        yield f"{name}_bucket{{{_pairs(labels, le=bound)}}} {below}"
    yield f"{name}_sum{{{_pairs(labels)}}} {histogram.total:.9g}"
    yield f"{name}_count{{{_pairs(labels)}}} {below}"


def _gauge(name: str, label: str, values: Mapping[str, int]) -> Iterable[str]:
    yield f"# TYPE {name} gauge"
    for key, value in values.items():
        yield f'{name}{{{label}="{_escaped(key)}"}} {value}'
