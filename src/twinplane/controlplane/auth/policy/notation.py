"""A short way to write RBAC rules, since the same four words fill every one of them.

A line is `VERBS RESOURCES [NAMES]`. VERBS are comma-separated; `read`, `write`, `readwrite` and `readupdate` are
upstream's sets. RESOURCES are `GROUP:plural,plural`, groups joined by `+` and the core group left out, or URL paths.
NAMES are resourceNames, comma-separated.

    create,patch,update  +events.k8s.io:events
    get,update           coordination.k8s.io:leases  kube-scheduler
    get                  /healthz,/livez
"""

from __future__ import annotations

from typing import Any

Rule = dict[str, Any]

_READ = ("get", "list", "watch")
_WRITE = ("create", "delete", "deletecollection", "patch", "update")
_SETS = {
    "read": _READ,
    "write": _WRITE,
    "readwrite": _READ + _WRITE,
    "readupdate": (*_READ, "patch", "update"),
}


def rule(line: str) -> Rule:
    """One line -> `rbac/v1` PolicyRule."""
    verbs, resources, *names = line.split()
    expanded = sorted({verb for word in verbs.split(",") for verb in _SETS.get(word, (word,))})
    if resources.startswith("/") or resources == "/*":
        paths = ["*"] if resources == "/*" else sorted(resources.split(","))
        return {"nonResourceURLs": paths, "verbs": expanded}
    groups, colon, plurals = resources.rpartition(":")
    found: Rule = {
        "apiGroups": groups.split("+") if colon else [""],
        "resources": sorted(plurals.split(",")),
        "verbs": expanded,
    }
    if names:
        found["resourceNames"] = names[0].split(",")
    return found


def rules(lines: str) -> list[Rule]:
    return [rule(line) for line in lines.splitlines() if line.strip()]


def sections(text: str) -> dict[str, str]:
    """A table whose unindented lines are names and whose indented lines belong to the name above."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        if not line.strip():
            continue
        if line[0].isspace():
            current.append(line)
        else:
            current = found.setdefault(line.strip(), [])
    return {name: "\n".join(lines) for name, lines in found.items()}
