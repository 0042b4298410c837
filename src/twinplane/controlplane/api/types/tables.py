"""Server-side tables: what `kubectl get` prints, for every type.

The API server calls `render` for a request that accepts `as=Table`. Built-in kinds have printers of their own
(`printing`), custom resources have the columns of their definition, and the rest shows name and creation time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.controlplane.api.types.printing import access, cluster, custom, network, pods, storage, workloads
from twinplane.controlplane.api.types.printing.column import Printer, name, printer
from twinplane.controlplane.api.types.strategy import is_custom
from twinplane.kubeclient.contract import Object

PRINTERS: dict[tuple[str, str], Printer] = (
    access.PRINTERS | cluster.PRINTERS | network.PRINTERS | pods.PRINTERS | storage.PRINTERS | workloads.PRINTERS
)


def _created(body: Object, now: float) -> list[Any]:
    return [name(body), body["metadata"].get("creationTimestamp", "")]


DEFAULT = printer("Name,Created At:date", _created)


def _printer(type: ResourceType) -> Printer:
    if is_custom(type):
        return custom.printer_for(type.extra.get("printer_columns") or [])
    return PRINTERS.get((type.resource.group, type.resource.kind), DEFAULT)


def table_columns(type: ResourceType) -> list[Object]:
    """TableColumnDefinitions; those with priority above 0 show with `-o wide`."""
    return _printer(type).columns


def table_row(type: ResourceType, obj: Object, now: float) -> list[Any]:
    """The cells of one object; `now` is in seconds since the epoch, ages are relative to it."""
    return _printer(type).row(obj, now)


def render(type: ResourceType, objects: Iterable[Object], now: float, include_object: str = "Metadata") -> Object:
    """A meta.k8s.io/v1 Table. `include_object`: None, Metadata (the default) or Object, as the request says.

    List metadata (resourceVersion, continue, remainingItemCount) is the caller's to fill in.
    """
    shown = _printer(type)
    rows = []
    for body in objects:
        row: Object = {"cells": shown.row(body, now)}
        if include_object == "Object":
            row["object"] = body
        elif include_object != "None":
            row["object"] = partial_metadata(body)
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": shown.columns,
        "rows": rows,
    }


def partial_metadata(body: Object) -> Object:
    """PartialObjectMetadata: an object without spec and status."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": body.get("metadata") or {}}
