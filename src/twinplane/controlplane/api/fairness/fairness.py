"""The entrance: which flow a request belongs to, and how many seats it needs.

`ApiServer` asks `flow` for every request and then takes the seats from the flow's level. Classifications are remembered
until a FlowSchema or PriorityLevelConfiguration changes, which is looked at once a turn of the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from twinplane.controlplane.admission.contract import ObjectReader
from twinplane.controlplane.api.fairness.bootstrap import (
    FLOW_SCHEMAS,
    MANDATORY_LEVELS,
    MANDATORY_SCHEMAS,
    PRIORITY_LEVELS,
)
from twinplane.controlplane.api.fairness.schemas import Limits, Schema, hand_of, in_order
from twinplane.controlplane.api.fairness.seats import Level, Pool
from twinplane.controlplane.api.objects.cache import ObjectCache
from twinplane.controlplane.api.routing import Route
from twinplane.controlplane.api.types.contract import TypeRegistry
from twinplane.controlplane.auth.contract import UserInfo

TOTAL_SEATS = 600
"""Upstream's --max-requests-inflight and --max-mutating-requests-inflight together."""
OBJECTS_PER_SEAT = 100
MOST_SEATS = 10
_REMEMBERED = 8192
_LONG_RUNNING = frozenset({"attach", "exec", "log", "portforward", "proxy"})

Count = Callable[[Route], int]
"""How many objects a list of this route would read."""


def stored_count(cache: ObjectCache, registry: TypeRegistry) -> Count:
    def count(route: Route) -> int:
        served = registry.lookup(route.group, route.version, route.resource)
        return 0 if served is None else len(cache.collection(served.stored_as))

    return count


class Flow:
    """A classification: the priority level, and the queues of this flow in it."""

    __slots__ = ("hand", "headers", "level", "schema")

    def __init__(self, schema: Schema, level: Level, hand: tuple[int, ...]) -> None:
        self.schema = schema
        self.level = level
        self.hand = hand
        self.headers = {
            "x-kubernetes-pf-flowschema-uid": schema.uid,
            "x-kubernetes-pf-prioritylevel-uid": level.uid,
        }


class Fairness:
    """`count` sizes lists and the beginnings of watches; `total` seats are divided by the levels' shares."""

    def __init__(self, reader: ObjectReader, count: Count, *, total: int = TOTAL_SEATS) -> None:
        self._reader = reader
        self._count = count
        self._total = total
        self._pool = Pool(self._turn_ended)
        self._levels: dict[str, Level] = {}
        self._schemas: list[Schema] = []
        self._revisions = (-1, -1)
        self._is_current = False
        self._flows: dict[tuple[Any, ...], Flow] = {}

    def flow(self, user: UserInfo, route: Route) -> Flow:
        if not self._is_current:
            self._refresh()
        place = route.namespace if route.resource else route.path
        key = (user.name, user.groups, route.verb, route.group, route.resource, route.subresource, place)
        found = self._flows.get(key)
        if found is None:
            if len(self._flows) >= _REMEMBERED:
                self._flows.clear()
            found = self._flows[key] = self._classify(user, route)
        return found

    def seats(self, flow: Flow, route: Route, query: Mapping[str, str]) -> int:
        """0 for requests that are not counted: exempt ones, and those that stay for long."""
        if flow.level.is_exempt or route.subresource in _LONG_RUNNING:
            return 0
        if route.verb == "list" or (route.verb == "watch" and query.get("sendInitialEvents") == "true"):
            # A streaming list costs what it sends at first, as a list does; afterwards it holds no seat.
            return min(MOST_SEATS, 1 + self._count(route) // OBJECTS_PER_SEAT)
        return 1

    def levels(self) -> Iterator[Level]:
        yield from self._levels.values()

    def metrics(self) -> str:
        """Prometheus text under upstream's names."""
        lines: list[str] = []
        gauges = (
            ("apiserver_flowcontrol_nominal_limit_seats", "nominal"),
            ("apiserver_flowcontrol_current_executing_seats", "executing"),
            ("apiserver_flowcontrol_current_inqueue_requests", "waiting"),
        )
        for name, field in gauges:
            lines.append(f"# TYPE {name} gauge")
            lines += [f'{name}{{priority_level="{each.name}"}} {getattr(each, field)}' for each in self.levels()]
        lines.append("# TYPE apiserver_flowcontrol_dispatched_requests_total counter")
        name = "apiserver_flowcontrol_dispatched_requests_total"
        lines += [f'{name}{{priority_level="{each.name}"}} {each.started}' for each in self.levels()]
        lines.append("# TYPE apiserver_flowcontrol_rejected_requests_total counter")
        for each in self.levels():
            for reason, count in each.rejected.items():
                labels = f'priority_level="{each.name}",reason="{reason}"'
                lines.append(f"apiserver_flowcontrol_rejected_requests_total{{{labels}}} {count}")
        return "\n".join(lines) + "\n"

    def _turn_ended(self) -> None:
        self._is_current = False

    def _refresh(self) -> None:
        revision = self._reader.revision
        revisions = (revision(FLOW_SCHEMAS), revision(PRIORITY_LEVELS))
        if revisions != self._revisions:
            self._configure()
            self._revisions = revisions
        self._is_current = True
        self._pool.schedule()

    def _configure(self) -> None:
        bodies = {each["metadata"]["name"]: each for each in MANDATORY_LEVELS}
        bodies |= {each["metadata"]["name"]: each for each in self._reader.list(PRIORITY_LEVELS)}
        limits = {name: Limits.of(body) for name, body in bodies.items()}
        shares = sum(each.shares for each in limits.values()) or 1
        levels: dict[str, Level] = {}
        for name, each in limits.items():
            level = levels[name] = self._levels.get(name) or Level(name, self._pool)
            nominal = -(-self._total * each.shares // shares)
            before = level.executing - level.minimum
            level.configure(each, nominal, bodies[name]["metadata"].get("uid", ""))
            self._pool.lent += max(0, level.executing - level.minimum) - max(0, before)
        self._pool.lendable = sum(level.nominal - level.minimum for level in levels.values())
        self._levels = levels
        schemas = {each["metadata"]["name"]: Schema.of(each) for each in MANDATORY_SCHEMAS}
        schemas |= {each["metadata"]["name"]: Schema.of(each) for each in self._reader.list(FLOW_SCHEMAS)}
        self._schemas = in_order(schema for schema in schemas.values() if schema.level in levels)
        self._flows = {}

    def _classify(self, user: UserInfo, route: Route) -> Flow:
        schema = next((each for each in self._schemas if each.matches(user, route)), None)
        if schema is None:
            # Upstream's words: the catch-all matches all, unless somebody changed it.
            schema = next(each for each in self._schemas if each.name == "catch-all")
        level = self._levels[schema.level]
        queuing = level.queuing
        hand = hand_of(schema.name, schema.flow_of(user, route), queuing) if queuing is not None else ()
        return Flow(schema, level, hand)
