"""Visiting every place where a definition occurs: one compiled walk for defaulting, one for validation.

A table names definitions and what to do there; `compile_walk` turns it into closures that go only where some named
definition can be below. So a rule for PodSpec holds in a Pod, a Deployment and a CronJob alike, and walking costs
nothing elsewhere.

An exact walk tells every visitor its path and goes by the names of fields, so that errors always come in the same
order. A quick one does neither, which halves its cost: it is for defaulting, and for finding out that all is well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from twinplane.controlplane.api.types.schema import Schema

C = TypeVar("C")
Visit = Callable[[Any, str, C], None]
"""(value, path, context). A visitor sees a parent before its children."""

API = "io.k8s.api."
META = "io.k8s.apimachinery.pkg.apis.meta."


def full_name(name: str) -> str:
    """Tables say `core.v1.PodSpec` or `meta.v1.ObjectMeta` for the long names of definitions."""
    if name.startswith("io."):
        return name
    return META + name[5:] if name.startswith("meta.") else API + name


Wrap = Callable[[Visit[Any]], Visit[Any]]
"""Stands before the visit of a definition and everything below it."""


class Walker:
    """Compiles walks over one set of definitions for one table of visitors; keeps what it compiled."""

    def __init__(
        self, table: Mapping[str, Iterable[Visit[Any]]], *, quick: bool = False, wrap: Mapping[str, Wrap] | None = None
    ) -> None:
        self._visitors = {full_name(name): tuple(visitors) for name, visitors in table.items()}
        self._wrap = {full_name(name): wrapper for name, wrapper in (wrap or {}).items()}
        self._object, self._list, self._map = _QUICK if quick else _EXACT
        self._walks: dict[str, Visit[Any] | None] = {}
        self._reaching: dict[str, bool] = {}

    def walk(self, schema: Schema) -> Visit[Any] | None:
        """None when no visitor can apply anywhere below."""
        name = schema.reference
        if not name:
            return self._compile(schema)
        if name not in self._walks:
            if not self._reaches(schema, set()):
                self._walks[name] = None
            else:
                self._walks[name] = lambda value, path, context: self._later(name, value, path, context)
                self._walks[name] = self._compile(schema)
        return self._walks[name]

    def _later(self, name: str, value: Any, path: str, context: Any) -> None:
        visit = self._walks[name]
        if visit is not None:
            visit(value, path, context)

    def _reaches(self, schema: Schema, seen: set[str]) -> bool:
        name = schema.reference
        if name:
            if name in self._visitors:
                return True
            if name in seen:
                return False
            if name in self._reaching:
                return self._reaching[name]
            seen.add(name)
        below = [schema.property(field) for field in schema.property_names]
        found = any(self._reaches(child, seen) for child in (*below, schema.items, schema.additional) if child)
        if name:
            self._reaching[name] = found
        return found

    def _compile(self, schema: Schema) -> Visit[Any] | None:
        visitors = self._visitors.get(schema.reference, ())
        if schema.property_names:
            children = []
            for field in sorted(schema.property_names):
                child = schema.property(field)
                visit = self.walk(child) if child else None
                if visit is not None:
                    children.append((field, visit))
            if not visitors and not children:
                return None
            found = self._object(visitors, tuple(children))
            return self._wrap[schema.reference](found) if schema.reference in self._wrap else found
        if schema.type == "array" and schema.items is not None:
            below = self.walk(schema.items)
            return self._list(below) if below else None
        if schema.additional is not None:
            below = self.walk(schema.additional)
            return self._map(below) if below else None
        return visitors[0] if visitors else None


def _object(visitors: tuple[Visit[Any], ...], children: tuple[tuple[str, Visit[Any]], ...]) -> Visit[Any]:
    def visit(value: Any, path: str, context: Any) -> None:
        for visitor in visitors:
            visitor(value, path, context)
        for field, below in children:
            item = value.get(field)
            if item is not None:
                below(item, f"{path}.{field}" if path else field, context)

    return visit


def _list(below: Visit[Any]) -> Visit[Any]:
    def visit(value: Any, path: str, context: Any) -> None:
        for index, item in enumerate(value):
            below(item, f"{path}[{index}]", context)

    return visit


def _map(below: Visit[Any]) -> Visit[Any]:
    def visit(value: Any, path: str, context: Any) -> None:
        for key, item in value.items():
            below(item, f"{path}[{key}]", context)

    return visit


def _quick_object(visitors: tuple[Visit[Any], ...], children: tuple[tuple[str, Visit[Any]], ...]) -> Visit[Any]:
    below = dict(children)

    def visit(value: Any, path: str, context: Any) -> None:
        for visitor in visitors:
            visitor(value, "", context)
        for field, item in value.items():
            if field in below and item is not None:
                below[field](item, "", context)

    def visit_few(value: Any, path: str, context: Any) -> None:
        for visitor in visitors:
            visitor(value, "", context)
        for field, visit_field in children:
            if field in value and (item := value[field]) is not None:
                visit_field(item, "", context)

    if not children and len(visitors) == 1:
        return visitors[0]
    return visit_few if len(children) <= FEW else visit


def _quick_list(below: Visit[Any]) -> Visit[Any]:
    def visit(value: Any, path: str, context: Any) -> None:
        for item in value:
            below(item, "", context)

    return visit


def _quick_map(below: Visit[Any]) -> Visit[Any]:
    def visit(value: Any, path: str, context: Any) -> None:
        for item in value.values():
            below(item, "", context)

    return visit


FEW = 4
"""Children that are looked for one by one; of more, those are visited that a value has."""
_EXACT = (_object, _list, _map)
_QUICK = (_quick_object, _quick_list, _quick_map)
