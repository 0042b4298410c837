"""The table of a conformance run, from ginkgo's report."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conformance.groups import NEEDS, beyond_simulation
from tests.conformance.results import read, surprises, table


def spec(text: str, state: str, message: str = "") -> dict[str, object]:
    made = {"LeafNodeType": "It", "LeafNodeText": text, "ContainerHierarchyTexts": ["[sig-x] Things"], "State": state}
    return made | {"RunTime": 2_500_000_000, "Failure": {"Message": message}}


def test_a_report_becomes_a_table(tmp_path: Path) -> None:
    suite = {"LeafNodeType": "BeforeSuite", "State": "passed"}
    specs = [
        suite,
        spec("work", "passed"),
        spec("run", "failed", "no\n  shell"),
        spec("b", "failed"),
        spec("c", "skipped"),
    ]
    report = tmp_path / "report.json"
    report.write_text(json.dumps([{"SpecReports": specs}]))
    needs = {"[sig-x] Things b": "files", "[sig-x] Things work": "files"}
    results = read(report, needs)
    assert [(result.name, result.passed) for result in results] == [
        ("[sig-x] Things b", False),
        ("[sig-x] Things run", False),
        ("[sig-x] Things work", True),
    ]
    assert results[1].seconds == 2.5
    shown = table([("x", results)])
    assert "| x | 3 | 1 | 1 | 1 |" in shown
    assert "- [sig-x] Things run: no shell" in shown
    assert surprises(results) == ["[sig-x] Things work"]


def test_every_line_of_the_list_says_what_is_needed() -> None:
    found = beyond_simulation()
    assert len(found) == len([line for line in NEEDS.read_text().splitlines() if not line.startswith("#")])
    assert all(need and name.startswith("[sig-") and "[Conformance]" in name for name, need in found.items())
