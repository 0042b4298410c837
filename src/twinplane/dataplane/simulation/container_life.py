"""One container of a simulated pod: where its life stands, and how its process ends. `lifecycle` moves it on."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from twinplane.dataplane.simulation.fleet.failures import PodFault
from twinplane.dataplane.simulation.pod_spec import ContainerSpec, PodSpec
from twinplane.dataplane.simulation.process_outcome import FOREVER, KILLED
from twinplane.dataplane.simulation.stages import Delay, Stages

RESTARTING_ALL = "RestartingAllContainers"
RESTARTING_ALL_MESSAGE = "The container is removed because RestartAllContainers in place"


@dataclass(slots=True)
class Exit:
    code: int
    reason: str
    started_at: float
    finished_at: float
    container_id: str
    message: str = ""


class Ending(NamedTuple):
    code: int
    reason: str = ""
    message: str = ""


@dataclass(slots=True)
class ContainerLife:
    spec: ContainerSpec
    step: str = "waiting"
    """waiting, pulling, pullBackoff, starting, running, stopping, backoff or done."""
    due: float | None = None
    """When the step ends by itself; None when it waits for something else."""
    ready_at: float | None = None
    exit_at: float | None = None
    unhealthy_at: float | None = None
    """When a probe that fails is out of patience."""
    pull_began: float = 0.0
    pull_failures: int = 0
    pull_error: str = ""
    started_at: float = 0.0
    ready: bool = False
    restarts: int = 0
    crashes: int = 0
    """Failures in a row, for the back-off."""
    incarnation: int = 0
    last: Exit | None = None
    """How it ended last; the present state too when `step` is done or backoff."""
    container_id: str = ""
    overrun: bool = False
    """Stopping takes it longer than it is given: it will be killed."""
    revived: bool = False
    """It is stopped only to be started again."""

    @property
    def running(self) -> bool:
        return self.step in ("running", "stopping")

    @property
    def succeeded(self) -> bool:
        return self.step == "done" and self.last is not None and self.last.code == 0

    @property
    def ever_started(self) -> bool:
        return self.running or self.last is not None

    def reset(self, now: float) -> None:
        """Killed and taken away, to begin anew with the whole pod; what it went through before does not count."""
        if self.ever_started:
            self.last = Exit(KILLED, RESTARTING_ALL, self.started_at, now, self.container_id, RESTARTING_ALL_MESSAGE)
        self.step, self.ready, self.revived = "waiting", False, False
        self.due = self.ready_at = self.exit_at = self.unhealthy_at = None
        self.crashes = self.pull_failures = 0

    def stop(self, now: float, deadline: float, seconds: float) -> None:
        """SIGTERM; `seconds` is how long the process takes, beside what its preStop hook does."""
        whole = self.spec.stop_seconds + seconds
        self.overrun = now + whole > deadline and (self.spec.stop_seconds > 0 or deadline <= now)
        self.step, self.ready = "stopping", False
        self.ready_at = self.exit_at = self.unhealthy_at = None
        self.due = max(now, min(now + whole, deadline))


def run_seconds(
    pod: PodSpec, container: ContainerSpec, stages: Stages, fault: PodFault, random: Random
) -> float | None:
    """From a container's start to its end; None for one that runs until it is stopped."""
    if container.kind in ("sidecar", "ephemeral"):
        return _process_seconds(container, None, stages, random)
    if container.kind == "init":
        if _init_fails(container, stages):
            return stages.init_run.draw(random)
        return _process_seconds(container, stages.init_run, stages, random)
    if fault.crash:
        return stages.crash_run.draw(random)
    if (run := stages.run_of(container.name)) is not None:
        return run.draw(random)
    if pod.run_seconds is not None:
        return pod.run_seconds
    if pod.crash_loop:
        return stages.crash_run.draw(random)
    completes = pod.runs_to_completion or container.restart_policy in ("Never", "OnFailure")
    return _process_seconds(container, stages.job_run if completes else None, stages, random)


def _process_seconds(container: ContainerSpec, default: Delay | None, stages: Stages, random: Random) -> float | None:
    """What the container's command says; `default` where it says nothing."""
    found = container.outcome
    if found is None:
        return default.draw(random) if default is not None else None
    return found.seconds + stages.init_run.draw(random) if found.seconds < FOREVER else None


def ending(pod: PodSpec, container: ContainerSpec, stages: Stages, fault: PodFault) -> Ending:
    """Of a process that ends by itself."""
    if container.kind == "main":
        if fault.crash:
            return Ending(pod.exit_code or 1)
        if (run := stages.run_of(container.name)) is not None:
            return Ending(run.exit_code, run.reason, run.message)
        if pod.crash_loop:
            return Ending(pod.exit_code or 1)
        if pod.exit_code is not None:
            return Ending(pod.exit_code)
    if container.kind == "init" and _init_fails(container, stages):
        return Ending(stages.init_run.exit_code, stages.init_run.reason, stages.init_run.message)
    return Ending(container.outcome.code if container.outcome is not None else 0)


def stopped(life: ContainerLife) -> Ending:
    """Of a process that was told to stop."""
    if life.overrun:
        return Ending(KILLED)
    return Ending(life.spec.outcome.stopped_code if life.spec.outcome is not None else 0)


def restarts(pod: PodSpec, container: ContainerSpec, code: int) -> bool:
    """Whether a process that ended is started again: the container's own rules and policy before the pod's."""
    if container.kind == "ephemeral":
        return False
    if container.kind == "sidecar":
        return True
    if container.rule_after(code) is not None:
        return True
    policy = container.restart_policy or pod.restart_policy
    if policy == "Always":
        return container.kind == "main" or code != 0
    return policy == "OnFailure" and code != 0


def _init_fails(container: ContainerSpec, stages: Stages) -> bool:
    """Init containers are made to fail, whatever their command says."""
    return stages.init_run.exit_code != 0 and stages.init_run.container in ("", container.name)
