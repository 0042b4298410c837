"""`twinplane fleet`: what is checked before the cluster is asked, and what the ConfigMap gets."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.simulation.test_fleet_file import fleet
from twinplane.cli import fleet as command
from twinplane.cli.main import main
from twinplane.cli.output import CommandError
from twinplane.dataplane.simulation.fleet.failures import Failure, stored


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.INJECT.arguments(parser)
    return parser.parse_args(["--cluster", "demo", "big", *words])


def test_injection_has_an_end() -> None:
    given = arguments("zoneLoss", "--zone", "us-west-2a", "--for", "5m", "--share", "0.5")
    failure = command._failure(given, 1000.0)
    assert (failure.kind, failure.begins, failure.ends) == ("zoneLoss", 1000, 1300)
    assert (failure.zone, failure.share) == ("us-west-2a", 0.5)


def test_conditions_and_evictions_are_injected() -> None:
    pressure = command._failure(arguments("nodeCondition", "--type", "DiskPressure", "--for", "1m"), 0.0)
    assert pressure.condition[:3] == ("DiskPressure", "True", "KubeletHasDiskPressure")
    own = arguments("nodeCondition", "--for", "1m", "--status", "Unknown", "--reason", "Why", "--message", "so")
    assert command._failure(own, 0.0).condition == ("Ready", "Unknown", "Why", "so")
    assert command._failure(arguments("eviction", "--for", "1m", "-l", "a=b"), 0.0).resource == "memory"


def test_what_was_injected_outlives_another_file() -> None:
    injected = command._failure(arguments("crashLoop", "--for", "5m"), 1000.0)
    of_file = Failure("crashLoop", 1000.0, 2000.0)
    body = {"data": {"failures.json": json.dumps([stored(injected), stored(of_file)])}}
    assert command._injected(body, 1100.0) == [injected]
    assert command._injected(body, 1300.0) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("nodeLoss", "--for", "soon"), "--for: 'soon' is no duration"),
        (("zoneLoss", "--for", "1m"), "inject.zone: is required for zoneLoss"),
        (("nodeLoss", "--for", "1m", "--share", "3"), "--share: must be between 0 and 1"),
        (("crashLoop", "--for", "1m", "--selector", "app"), "--selector must be labels such as app=web, got 'app'"),
        (("nodeLoss", "--for", "1m", "-l", "a=b"), "inject: nodeLoss is about nodes"),
        (("nodeCondition", "--for", "1m", "--type", "no type"), "inject.type: 'no type' is no type"),
    ],
)
def test_injections_that_make_no_sense(words: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(CommandError) as refused:
        command._failure(arguments(*words), 0.0)
    assert sentence in str(refused.value)


def test_traces_travel_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_text("seconds,cpu,memory\n0,1,1Gi\n")
    body: dict[str, Any] = fleet(usage={"models": {"day": {"kind": "trace", "file": "day.csv"}}})
    content = command._with_files(body, str(tmp_path / "fleet.yaml"))
    assert content["spec"]["usage"]["models"]["day"] == {"kind": "trace", "csv": "seconds,cpu,memory\n0,1,1Gi\n"}
    assert set(command._checked(content).models) == {"day"}


def test_logs_travel_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_text("loading\nready\n")
    content = command._with_files(fleet(lifeCycles=[{"logFile": "app.log"}]), str(tmp_path / "fleet.yaml"))
    (cycle,) = command._checked(content).life_cycles
    assert cycle.stages.log == ("loading", "ready")


def test_traces_as_spreadsheets_write_them(tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_text("\ufeffseconds, cpu, memory\r\n0, 100m, 1Gi\r\n")
    body = fleet(usage={"models": {"day": {"kind": "trace", "file": "day.csv"}}})
    content = command._with_files(body, str(tmp_path / "fleet.yaml"))
    assert set(command._checked(content).models) == {"day"}


@pytest.mark.parametrize(
    ("given", "content", "sentence"),
    [
        ({}, None, r"day\.csv: No such file or directory$"),
        ({}, b"\xff\xfe\x00", r"day\.csv: is no text in UTF-8"),
        ({"csv": "seconds,cpu,memory"}, b"", "file and csv exclude each other"),
    ],
)
def test_traces_that_cannot_be_read(
    given: dict[str, str], content: bytes | None, sentence: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "day.csv").write_bytes(content)
    body = fleet(usage={"models": {"day": {"kind": "trace", "file": "day.csv", **given}}})
    with pytest.raises(CommandError, match=sentence):
        command._with_files(body, str(tmp_path / "fleet.yaml"))


@pytest.mark.parametrize("text", ["", "[]", "spec: []", "spec: {usage: 7}", "spec: {usage: {models: 7}}", "a: b: c"])
def test_anything_may_be_in_a_file(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(text)
    assert main(["fleet", "apply", "--cluster", "demo", "-f", str(path)]) == 1
    assert capsys.readouterr().err.startswith("Error: ")
