"""Sets of completion indexes in the form that a Job's status has them: `0-2,5`. Pure."""

from __future__ import annotations

from collections.abc import Iterable


def parsed(text: str, limit: int) -> set[int]:
    """Indexes below `limit`; what is not a number was never written by us and is left out."""
    result: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        if first.isdigit() and (last or first).isdigit():
            result.update(range(int(first), min(int(last or first), limit - 1) + 1))
    return result


def rendered(indexes: Iterable[int]) -> str:
    runs: list[list[int]] = []
    for index in sorted(set(indexes)):
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    # Two neighbours are a list, more are a range: as upstream writes it.
    return ",".join(str(a) if a == b else f"{a},{b}" if b == a + 1 else f"{a}-{b}" for a, b in runs)
