"""KubeSchedulerConfiguration v1: the file that configures the scheduler, as kube-scheduler's `--config`.

Read strictly: a field that upstream does not know is an error, with its path. What upstream accepts and has no meaning
here (parallelism, leader election, connection limits, percentageOfNodesToScore: all nodes are always considered) is
accepted and not acted on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinplane.controlplane.scheduler.decoding import BadSchedulerConfiguration, Fields
from twinplane.controlplane.scheduler.plugin_args import GROUP
from twinplane.controlplane.scheduler.profiles import Profile, read
from twinplane.controlplane.scheduler.queue import BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS

KIND = "KubeSchedulerConfiguration"
NOT_ACTED_ON = (
    "leaderElection",
    "clientConnection",
    "enableProfiling",
    "enableContentionProfiling",
    "delayCacheUntilActive",
)


@dataclass(frozen=True, slots=True)
class SchedulerConfiguration:
    profiles: tuple[Profile, ...] = (Profile(),)
    """Each with a name of its own."""
    backoff_first: float = BACKOFF_FIRST_SECONDS
    backoff_max: float = BACKOFF_MAX_SECONDS


def load(path: Path) -> SchedulerConfiguration:
    """Raises `BadSchedulerConfiguration` with all that is wrong; the file is YAML or JSON."""
    import yaml

    try:
        body = yaml.safe_load(path.read_text())
    except OSError as error:
        raise BadSchedulerConfiguration(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadSchedulerConfiguration(f"{path} is not YAML: {error}") from error
    try:
        return parse(body)
    except BadSchedulerConfiguration as error:
        raise BadSchedulerConfiguration(f"{path}:\n{error}") from error


def parse(body: Any) -> SchedulerConfiguration:
    problems: list[str] = []
    fields = Fields(body, "", problems)
    if not problems:
        _check_type(fields)
    for name in NOT_ACTED_ON:
        fields.raw(name)
    fields.number("parallelism", 16, low=1)
    fields.number("percentageOfNodesToScore", 0, high=100)
    if fields.raw("extenders"):
        fields.wrong("extenders", "scheduler extenders are not supported")
    first = fields.number("podInitialBackoffSeconds", int(BACKOFF_FIRST_SECONDS), low=1)
    longest = fields.number("podMaxBackoffSeconds", int(BACKOFF_MAX_SECONDS), low=1)
    if longest < first:
        detail = "must be greater than or equal to PodInitialBackoffSeconds"
        fields.wrong("podMaxBackoffSeconds", f"Invalid value: {longest}: {detail}")
    profiles = tuple(_profiles(fields))
    fields.end()
    if problems:
        raise BadSchedulerConfiguration("\n".join(problems))
    return SchedulerConfiguration(profiles or (Profile(),), first, longest)


def _check_type(fields: Fields) -> None:
    for name, wanted in (("apiVersion", GROUP), ("kind", KIND)):
        found = fields.text(name)
        if found != wanted:
            fields.wrong(name, f'must be "{wanted}", not "{found}"')


def _profiles(fields: Fields) -> list[Profile]:
    found: dict[str, Profile] = {}
    for item in fields.each("profiles"):
        profile = read(item)
        if profile.name in found:
            item.wrong("schedulerName", f'Duplicate value: "{profile.name}"')
        found[profile.name] = profile
    return list(found.values())
