"""Which of upstream's tests run together, and which of them simulated nodes cannot pass.

Data only: the runner turns it into flags of ginkgo, and `results` sorts failures by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

GROUPS = {
    name: rf"\[sig-{name}\].*\[Conformance\]"
    for name in (
        "api-machinery",
        "apps",
        "architecture",
        "auth",
        "cli",
        "instrumentation",
        "network",
        "node",
        "scheduling",
        "storage",
    )
}
"""Name of a group -> the regular expression of its tests' names."""

NEEDS = Path(__file__).with_name("beyond_simulation.txt")
"""A line for each test that takes more than a simulated pod has: what it takes, a tab, and the test's name."""


def beyond_simulation(file: Path = NEEDS) -> Mapping[str, str]:
    """Name of a test -> what it takes. Raises OSError."""
    lines = (line.partition("\t") for line in file.read_text().splitlines() if line and not line.startswith("#"))
    return {name: need for need, _, name in lines}
