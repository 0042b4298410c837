"""What rules may cost at most: budgets, how often a rule runs, and the words of a refusal.

Upstream refuses a definition with rules that are sure to be too slow, which `estimate` tells of one evaluation.
Sources: apiextensions-apiserver `pkg/apis/apiextensions/validation/validation.go`.
"""

from __future__ import annotations

from collections.abc import Iterator

from twinplane.controlplane.api.extensions.customresources.call_costs import HIGHEST
from twinplane.controlplane.api.extensions.customresources.sizes import REQUEST_BYTES, smallest
from twinplane.controlplane.api.extensions.customresources.values import Raw

EXPRESSION_LIMIT = 10_000_000
DEFINITION_LIMIT = 100_000_000


def cardinality(above: int | None, schema: Raw) -> int:
    """How often a rule of `schema` runs at most, where the lists and maps above it allow `above` values, or any."""
    return above if above is not None else REQUEST_BYTES // (smallest(schema) + 1)


def below(above: int | None, schema: Raw, limit: str) -> int | None:
    """`above` for the elements of a list (`maxItems`) or a map (`maxProperties`)."""
    most = schema.get(limit)
    return None if above is None or most is None else above * max(int(most), 0)


def excess(name: str, cost: int, limit: int) -> str:
    """Upstream's words for a cost above its limit."""
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return (
        f"{name} exceeds budget by factor of {shown} (try simplifying the rule, or adding maxItems, maxProperties, and "
        "maxLength where arrays, maps, and strings are declared)"
    )


class Total:
    """What all rules of one version cost together, and which of them the most."""

    def __init__(self) -> None:
        self.total = 0
        self._rules: list[tuple[int, str]] = []

    def add(self, path: str, cost: int) -> None:
        self.total = min(self.total + cost, HIGHEST)
        # Upstream does not name what is below a hundredth of the limit.
        if cost >= DEFINITION_LIMIT // 100:
            self._rules.append((cost, path))

    def highest(self) -> Iterator[str]:
        """The paths of the four most expensive rules."""
        for _, path in sorted(self._rules, key=lambda rule: -rule[0])[:4]:
            yield path
