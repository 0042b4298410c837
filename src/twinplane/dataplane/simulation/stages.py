"""The data file of pod stages, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from random import Random
from typing import Any


@dataclass(frozen=True, slots=True)
class Delay:
    seconds: float
    jitter: float = 0.0

    def draw(self, random: Random) -> float:
        return self.seconds + self.jitter * random.random()


@dataclass(frozen=True, slots=True)
class Backoff:
    first: float
    max: float
    reset_after: float = 600.0

    def after(self, failures: int) -> float:
        """The pause after the given number of failures in a row, at least one."""
        return float(min(self.first * (1 << min(failures - 1, 16)), self.max))


@dataclass(frozen=True, slots=True)
class EventText:
    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Stages:
    sandbox: Delay
    pull: Delay
    start: Delay
    init_run: Delay
    job_run: Delay
    crash_run: Delay
    stop: Delay
    pull_backoff: Backoff
    restart_backoff: Backoff
    events: Mapping[str, EventText]


def parse_stages(data: Mapping[str, Any]) -> Stages:
    """Raises KeyError for a stage that is missing."""

    def delay(name: str) -> Delay:
        return Delay(float(data[name]["seconds"]), float(data[name].get("jitter", 0)))

    def backoff(name: str) -> Backoff:
        item = data[name]
        return Backoff(float(item["first"]), float(item["max"]), float(item.get("resetAfter", 600)))

    return Stages(
        sandbox=delay("sandbox"),
        pull=delay("pull"),
        start=delay("start"),
        init_run=delay("initRun"),
        job_run=delay("jobRun"),
        crash_run=delay("crashRun"),
        stop=delay("stop"),
        pull_backoff=backoff("pullBackoff"),
        restart_backoff=backoff("restartBackoff"),
        events={name: EventText(**item) for name, item in data["events"].items()},
    )


def default_stages() -> Stages:
    import yaml

    return parse_stages(yaml.safe_load(files(__package__).joinpath("stages.yaml").read_text()))
