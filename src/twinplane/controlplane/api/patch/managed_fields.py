"""`metadata.managedFields`: the entries, their order, and what a plain write does to them.

`track_update` runs on every create, update and patch, so it compares first and only touches the entries that share a
field with what changed. Rules: k8s.io/apimachinery pkg/util/managedfields. Pure: time is passed in as text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from twinplane.controlplane.api.patch.field_set import FieldSet, difference, ordered, union
from twinplane.controlplane.api.patch.typed_value import MISSING, compare
from twinplane.controlplane.api.types.schema import Schema
from twinplane.kubeclient.contract import Object

APPLY, UPDATE = "Apply", "Update"
CREATED_MAX = 256
MAX_UPDATE_ENTRIES = 10
"""Beyond these the oldest entries of updates become one."""
ANCIENT_CHANGES = "ancient-changes"
BEFORE_FIRST_APPLY = "before-first-apply"

_SYSTEM_METADATA = frozenset(
    {
        *("name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields"),
        "resourceVersion",
    }
)
_NOT_TRACKED = frozenset({"apiVersion", "kind", "metadata"})


class Identity(NamedTuple):
    """What makes two entries the same; the version counts for updates only."""

    manager: str
    operation: str
    api_version: str
    subresource: str


@dataclass(slots=True)
class Entry:
    """Never changed. `time` is RFC 3339 in whole seconds, empty when unknown."""

    manager: str
    operation: str
    api_version: str
    fields: FieldSet
    time: str = ""
    subresource: str = ""
    stored: Object | None = field(default=None, compare=False)
    """The entry as it is written, when nothing changed since it was read."""

    @property
    def identity(self) -> Identity:
        version = "" if self.operation == APPLY else self.api_version
        return Identity(self.manager, self.operation, version, self.subresource)

    def to_object(self, *, sorted_already: bool = False) -> Object:
        if self.stored is not None:
            return self.stored
        entry: Object = {"manager": self.manager, "operation": self.operation, "apiVersion": self.api_version}
        if self.time:
            entry["time"] = self.time
        entry["fieldsType"] = "FieldsV1"
        entry["fieldsV1"] = self.fields if sorted_already else ordered(self.fields)
        if self.subresource:
            entry["subresource"] = self.subresource
        return entry


Managers = dict[Identity, Entry]


def decode(entries: Any, *, stored: bool = False) -> Managers | None:
    """None for entries that are no managed fields; upstream then acts as if there were none.

    `stored` entries come from an object of ours and are known to be sound.
    """
    if not isinstance(entries, list):
        return None
    managers: Managers = {}
    for raw in entries:
        if not stored and not (isinstance(raw, dict) and _is_valid(raw)):
            return None
        entry = Entry(
            manager=raw.get("manager") or "",
            operation=raw["operation"],
            api_version=raw["apiVersion"],
            fields=raw.get("fieldsV1") or {},
            time=raw.get("time") or "",
            subresource=raw.get("subresource") or "",
            stored=raw,
        )
        managers[entry.identity] = entry
    return managers


def _is_valid(raw: Object) -> bool:
    texts = all(isinstance(raw.get(name, ""), str | None) for name in ("manager", "time", "subresource"))
    known = raw.get("operation") in (APPLY, UPDATE) and raw.get("fieldsType") == "FieldsV1"
    version = raw.get("apiVersion")
    return texts and known and isinstance(version, str) and bool(version) and _is_field_set(raw.get("fieldsV1") or {})


def _is_field_set(node: Any) -> bool:
    return isinstance(node, dict) and all(map(_is_field_set, node.values()))


def write(obj: Object, managers: Iterable[Entry]) -> None:
    """Put the entries into the object's metadata, ordered as upstream orders them; none at all when there are none."""
    entries = list(managers)
    if len(entries) > 1:
        entries.sort(key=lambda it: (it.operation, it.time, it.manager, it.api_version, it.subresource))
    if entries:
        obj["metadata"]["managedFields"] = [entry.to_object() for entry in entries]
    else:
        obj["metadata"].pop("managedFields", None)


def is_reset(entries: Any) -> bool:
    """A client that sends `[]` or `[{}]` wants the tracking gone."""
    return isinstance(entries, list) and entries in ([], [{}])


def tracked(obj: Object) -> Object:
    """The object without what no manager ever owns."""
    metadata = obj.get("metadata") or {}
    kept = {name: value for name, value in metadata.items() if name not in _SYSTEM_METADATA}
    rest = {name: value for name, value in obj.items() if name not in _NOT_TRACKED}
    return {**rest, "metadata": kept} if kept else rest


def changes(old: Object, new: Object, schema: Schema | None) -> tuple[FieldSet, FieldSet]:
    """Fields added or modified, and fields removed, among those that can be owned. `old` may be empty."""
    before, after = _differing(old, new, _NOT_TRACKED)
    # Nobody owns the metadata as such, so it must not seem to appear.
    before["metadata"], after["metadata"] = _differing(
        old.get("metadata") or {}, new.get("metadata") or {}, _SYSTEM_METADATA
    )
    return compare(before, after, schema)


def _differing(old: Object, new: Object, ignored: Collection[str]) -> tuple[Object, Object]:
    """Both without what is ignored and what is the very same in both: a patch shares what it leaves alone."""
    before, after = (
        {name: value for name, value in one.items() if name not in ignored and other.get(name, MISSING) is not value}
        for one, other in ((old, new), (new, old))
    )
    return before, after


def track_update(
    live: Object | None,
    new: Object,
    *,
    schema: Schema | None,
    manager: str,
    api_version: str,
    subresource: str,
    now: str,
) -> None:
    """Set `new`'s managedFields after a create (`live` None), update or patch by `manager`; changes `new` in place.

    `new` is the object as it will be stored; `now` is RFC 3339 in whole seconds. An object whose managedFields were
    removed is not tracked again before somebody applies to it.
    """
    entries, managers = _managers_of_request(live, new, subresource)
    if not managers and live is not None:
        new["metadata"].pop("managedFields", None)
        return
    if live is None and not managers:
        fields = _fields_of_created(orjson.dumps(tracked(new)), schema)
        if fields:
            entry = Entry(manager or "unknown", UPDATE, api_version, fields, now, subresource)
            new["metadata"]["managedFields"] = [entry.to_object(sorted_already=True)]
        return
    changed, removed = changes(live or {}, new, schema)
    if not changed and not removed:
        if entries:
            new["metadata"]["managedFields"] = entries
        return
    mine = Entry(manager or "unknown", UPDATE, api_version, changed, now, subresource)
    # What one changes stays one's own, so an entry that gains no field keeps its stored form.
    managers = release(managers, changed, removed, keep=None if removed else mine.identity)
    if changed:
        claim(managers, mine)
    write(new, _capped(managers).values())


@lru_cache(maxsize=CREATED_MAX)
def _fields_of_created(content: bytes, schema: Schema | None) -> FieldSet:
    """Of a new object, sorted; the thousand pods of a ReplicaSet say the same and so own the same fields."""
    return ordered(compare({"metadata": {}}, {"metadata": {}, **orjson.loads(content)}, schema)[0])


def _managers_of_request(live: Object | None, new: Object, subresource: str) -> tuple[list[Any], Managers]:
    """The client's managedFields when it sent sensible ones to the main resource, otherwise the live ones."""
    before = live["metadata"].get("managedFields") if live is not None else None
    sent = new["metadata"].get("managedFields")
    if not subresource:
        if is_reset(sent):
            return [], {}
        if sent != before and (managers := decode(sent)):
            return sent, managers
    return before or [], decode(before, stored=True) or {}


def release(managers: Managers, changed: FieldSet, removed: FieldSet, keep: Identity | None = None) -> Managers:
    """Every manager but `keep` loses what another one changed, and what is gone."""
    left: Managers = {}
    for identity, entry in managers.items():
        if identity != keep:
            fields = difference(difference(entry.fields, changed), removed)
            if not fields:
                continue
            if fields != entry.fields:
                left[identity] = _with_fields(entry, fields, entry.time)
                continue
        left[identity] = entry
    return left


def claim(managers: Managers, entry: Entry) -> None:
    """Add the fields to those that the same manager has already, with the new time."""
    identity = entry.identity
    before = managers.get(identity)
    if before is None:
        managers[identity] = _with_fields(entry, entry.fields, entry.time)
    elif before.stored is not None and not difference(entry.fields, before.fields):
        managers[identity] = replace(entry, fields=before.fields, stored={**before.stored, "time": entry.time})
    else:
        managers[identity] = _with_fields(entry, union(entry.fields, before.fields), entry.time)


def _with_fields(entry: Entry, fields: FieldSet, time: str) -> Entry:
    return Entry(entry.manager, entry.operation, entry.api_version, fields, time, entry.subresource)


def _capped(managers: Managers) -> Managers:
    if len(managers) <= MAX_UPDATE_ENTRIES:
        return managers
    updates = sorted(
        (entry for entry in managers.values() if entry.operation == UPDATE), key=lambda it: (it.time, it.identity)
    )
    excess = len(updates) - MAX_UPDATE_ENTRIES
    first: dict[str, Entry] = {}
    for entry in updates:
        if excess <= 0:
            break
        bucket = Identity(ANCIENT_CHANGES, UPDATE, entry.api_version, "")
        if entry.api_version not in first:
            first[entry.api_version] = entry
            continue
        older = managers.get(bucket) or managers.pop(first[entry.api_version].identity)
        managers.pop(entry.identity)
        managers[bucket] = Entry(*bucket[:3], union(entry.fields, older.fields), entry.time)
        excess -= 1
    return managers
