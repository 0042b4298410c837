"""From ginkgo's JSON reports to the table of docs/conformance.md. Pure, but for reading the files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GOOD = ("passed",)
NOT_RUN = ("skipped", "pending")
MESSAGE_LENGTH = 160


@dataclass(frozen=True, slots=True)
class Result:
    name: str
    passed: bool
    seconds: float
    message: str = ""
    """Why it failed, in one line."""
    needs: str = ""
    """What it takes that simulated nodes have not."""


def read(report: Path, needs: Mapping[str, str]) -> list[Result]:
    """The tests that were run, by name. Raises OSError and ValueError."""
    suites: list[dict[str, Any]] = json.loads(report.read_bytes())
    found = [_result(spec, needs) for suite in suites for spec in suite.get("SpecReports") or () if _was_run(spec)]
    return sorted(found, key=lambda result: result.name)


def _was_run(spec: dict[str, Any]) -> bool:
    return spec.get("LeafNodeType") == "It" and spec.get("State") not in NOT_RUN


def _result(spec: dict[str, Any], needs: Mapping[str, str]) -> Result:
    name = " ".join([*(spec.get("ContainerHierarchyTexts") or ()), spec.get("LeafNodeText") or ""])
    message = " ".join(((spec.get("Failure") or {}).get("Message") or "").split())
    return Result(
        name, spec["State"] in GOOD, spec.get("RunTime", 0) / 1e9, message[:MESSAGE_LENGTH], needs.get(name, "")
    )


def table(groups: Iterable[tuple[str, list[Result]]]) -> str:
    """Markdown: a line a group, the failures that are ours, and what was left to real nodes by need."""
    lines = ["| group | run | passed | failed | failed for want of a real node |", "|---|---|---|---|---|"]
    ours: list[Result] = []
    totals = [0, 0, 0, 0]
    for name, results in groups:
        failed = [result for result in results if not result.passed]
        own = [result for result in failed if not result.needs]
        counts = [len(results), len(results) - len(failed), len(own), len(failed) - len(own)]
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        lines.append(f"| {name} | {' | '.join(map(str, counts))} |")
        ours += own
    lines.append(f"| all | {' | '.join(map(str, totals))} |")
    if ours:
        lines += ["", "Failed:", "", *(f"- {result.name}: {result.message}" for result in ours)]
    return "\n".join(lines) + "\n"


def surprises(results: Iterable[Result]) -> list[str]:
    """Tests that passed although they are said to be beyond simulated nodes: their lines can go."""
    return [result.name for result in results if result.passed and result.needs]
