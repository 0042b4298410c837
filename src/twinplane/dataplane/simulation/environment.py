"""The environment variables of a simulated container, as far as they follow from the pod itself.

Used by `pod_spec` (what becomes of a command) and by the streams (`kubectl exec -- env`). Variables that come from
ConfigMaps, Secrets, resources and Services are left out: the simulation does not read those.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twinplane.kubeclient.contract import Object


def environment_of(container: Mapping[str, Any], body: Object, known: Mapping[str, str]) -> dict[str, str]:
    """In order of definition. `known` has field paths that the pod does not say by itself, such as `status.podIP`."""
    environment: dict[str, str] = {}
    for entry in container.get("env") or ():
        value = _value(entry, body, known)
        if value is not None:
            environment[entry["name"]] = expanded(value, environment)
    return environment


def expanded(text: str, environment: Mapping[str, str]) -> str:
    """`$(NAME)` of variables that are defined; `$$(NAME)` stays as it is, with one dollar."""
    if "$" not in text:
        return text
    parts = text.split("$$")
    for name, value in environment.items():
        parts = [part.replace(f"$({name})", value) for part in parts]
    return "$".join(parts)


def _value(entry: Mapping[str, Any], body: Object, known: Mapping[str, str]) -> str | None:
    source = entry.get("valueFrom")
    if source is None:
        return str(entry.get("value") or "")
    path = (source.get("fieldRef") or {}).get("fieldPath", "")
    if path.endswith("']"):
        field, _, key = path[:-2].partition("['")
        return str((body["metadata"].get(field.removeprefix("metadata.")) or {}).get(key, ""))
    if path in known:
        return known[path]
    where, _, field = path.partition(".")
    found = body.get(where, {}).get(field) if where in ("metadata", "spec") else None
    return found if isinstance(found, str) else None
