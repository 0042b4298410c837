"""`spec.successPolicy`: an Indexed Job may succeed with a part of its indexes. Pure."""

from __future__ import annotations

from collections.abc import Set

from twinplane.controlplane.controllers.job import completion_indexes
from twinplane.kubeclient.contract import Object


def met(job: Object, completed: Set[int]) -> str:
    """The message of the first rule that is met; empty if none is."""
    if not completed:
        return ""
    completions = int(job["spec"].get("completions") or 0)
    for number, rule in enumerate((job["spec"].get("successPolicy") or {}).get("rules") or []):
        wanted = rule.get("succeededIndexes")
        counted: Set[int] = completed
        needed = rule.get("succeededCount")
        if wanted is not None:
            required = completion_indexes.parsed(wanted, completions)
            if not required:
                continue
            counted = completed & required
            needed = len(required) if needed is None else needed
        if needed is not None and len(counted) >= needed:
            return f"Matched rules at index {number}"
    return ""
