"""The life of a simulated pod: a pure state machine from "bound to the node" to "gone".

Time goes in, and what happened comes out: `advance` plays everything that was due until now, in order, and collects
events and log lines; the caller writes status, sets a timer for `next_due`, and reads nothing else. A container goes

    waiting -> pulling -> starting -> running -> (stopping) -> done
                  ^ back-off ^---- backoff <---- exit

init containers one after another, sidecars as soon as the one before has started, main containers together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from twinplane.dataplane.simulation.fleet.failures import NO_POD_FAULT, PodFault
from twinplane.dataplane.simulation.pod_spec import ContainerSpec, PodSpec
from twinplane.dataplane.simulation.process_outcome import FOREVER
from twinplane.dataplane.simulation.stages import Delay, Stages


class Told(NamedTuple):
    """An event about the pod, as the kubelet would record it; `container` for its field path."""

    type: str
    reason: str
    message: str
    container: ContainerSpec | None


class Logged(NamedTuple):
    at: float
    container: str
    incarnation: int
    """Counts the container's starts from 1."""
    text: str


@dataclass(slots=True)
class Exit:
    code: int
    reason: str
    started_at: float
    finished_at: float
    container_id: str


@dataclass(slots=True)
class ContainerLife:
    spec: ContainerSpec
    step: str = "waiting"
    """waiting, pulling, pullBackoff, starting, running, stopping, backoff or done."""
    due: float | None = None
    """When the step ends by itself; None when it waits for something else."""
    ready_at: float | None = None
    exit_at: float | None = None
    pull_began: float = 0.0
    pull_failures: int = 0
    started_at: float = 0.0
    ready: bool = False
    restarts: int = 0
    crashes: int = 0
    """Failures in a row, for the back-off."""
    incarnation: int = 0
    last: Exit | None = None
    """How it ended last; the present state too when `step` is done or backoff."""
    container_id: str = ""

    @property
    def running(self) -> bool:
        return self.step in ("running", "stopping")

    @property
    def succeeded(self) -> bool:
        return self.step == "done" and self.last is not None and self.last.code == 0

    @property
    def ever_started(self) -> bool:
        return self.running or self.last is not None


@dataclass(slots=True)
class PodLife:
    """`images` is the node's set of pulled images, shared by its pods."""

    spec: PodSpec
    stages: Stages
    random: Random
    images: set[str]
    fault: PodFault = NO_POD_FAULT
    """What is wrong with it from outside; `set_fault` changes it."""
    containers: list[ContainerLife] = field(default_factory=list)
    started_at: float = 0.0
    sandbox_at: float | None = None
    """When the sandbox is up; None until the pod has its address."""
    sandboxed: bool = False
    terminating: bool = False
    told: list[Told] = field(default_factory=list)
    logged: list[Logged] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.containers:
            self.containers = [ContainerLife(container) for container in self.spec.containers]

    # -- what the caller does ------------------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """The address is there: set up the sandbox."""
        if self.sandbox_at is None and not self.terminating:
            self.sandbox_at = now + self._draw(self.stages.sandbox)

    def terminate(self, now: float, grace_seconds: float) -> None:
        """SIGTERM to everything that runs; what has not started never will. Idempotent, but grace may get shorter."""
        for life in self.containers:
            if life.step == "running":
                life.step, life.ready = "stopping", False
                life.due = now + min(grace_seconds, self.stages.stop.draw(self.random))
                self._tell("killing", life)
            elif life.step == "stopping":
                life.due = min(life.due or now, now + grace_seconds)
            elif life.step != "done":
                life.step, life.due = "done", None
        self.terminating = True

    def attach(self, ephemeral: Iterable[ContainerSpec], now: float) -> None:
        """Containers were added to the pod, which start at once where it has a sandbox."""
        known = {life.spec.name for life in self.containers}
        self.containers += [ContainerLife(spec) for spec in ephemeral if spec.name not in known]
        if self.sandboxed and not self.terminating:
            self._start_next(now)

    def set_fault(self, fault: PodFault, now: float) -> None:
        """A failure begins or ends. Containers that run crash, or run on; what is slow or waits keeps its time."""
        before, self.fault = self.fault, fault
        if before.crash == fault.crash:
            return
        for life in self.containers:
            if life.step == "running" and life.spec.kind == "main":
                seconds = self.run_seconds(life)
                life.exit_at = None if seconds is None else now + seconds

    def advance(self, now: float) -> bool:
        """Play what was due until `now`. True when anything changed."""
        changed = False
        while (due := self.next_due()) is not None and due <= now:
            self._fire(due)
            changed = True
        return changed

    def next_due(self) -> float | None:
        if not self.sandboxed and not self.terminating:
            return self.sandbox_at
        return min(self._dues(), default=None)

    def drain(self) -> tuple[list[Told], list[Logged]]:
        told, logged = self.told, self.logged
        self.told, self.logged = [], []
        return told, logged

    # -- what the status is made of ------------------------------------------------------------------------------

    @property
    def initialized(self) -> bool:
        return all(self._is_past(life) for life in self.containers if life.spec.kind in ("init", "sidecar"))

    @property
    def finished(self) -> bool:
        """No container runs or will run again."""
        ending = (life for life in self.containers if life.spec.kind in ("init", "main"))
        return all(life.step == "done" for life in ending) or self._init_failed

    @property
    def stopped(self) -> bool:
        """Nothing runs any more: a terminating pod may go."""
        return not any(life.running for life in self.containers)

    @property
    def phase(self) -> str:
        if self._init_failed:
            return "Failed"
        main = [life for life in self.containers if life.spec.kind == "main"]
        if not self.terminating and (not self.initialized or not all(life.ever_started for life in main)):
            return "Pending"
        if all(life.step == "done" for life in main) and (self.spec.runs_to_completion or self.terminating):
            return "Succeeded" if all(life.succeeded for life in main) else "Failed"
        return "Running"

    @property
    def _init_failed(self) -> bool:
        return any(life.spec.kind == "init" and life.step == "done" and not life.succeeded for life in self.containers)

    @staticmethod
    def _is_past(life: ContainerLife) -> bool:
        """An init container that lets the next one start."""
        return life.ever_started if life.spec.kind == "sidecar" else life.succeeded

    # -- the machine ---------------------------------------------------------------------------------------------

    def _dues(self) -> Iterator[float]:
        for life in self.containers:
            for moment in (life.due, life.ready_at, life.exit_at):
                if moment is not None:
                    yield moment

    def _fire(self, now: float) -> None:
        if not self.sandboxed and not self.terminating:
            self.sandboxed = True
        for life in self.containers:
            if life.ready_at is not None and life.ready_at <= now:
                life.ready_at, life.ready = None, life.step == "running"
            if life.exit_at is not None and life.exit_at <= now:
                life.exit_at = None
                self._exit(life, now, self._exit_code(life))
            elif life.due is not None and life.due <= now:
                life.due = None
                self._step(life, now)
        if not self.terminating:
            self._start_next(now)

    def _start_next(self, now: float) -> None:
        for life in self.containers:
            if life.spec.kind == "ephemeral" and life.step == "waiting":
                self._create(life, now)
        for life in self.containers:
            if life.spec.kind == "main":
                break
            if life.step == "waiting":
                self._create(life, now)
            if not self._is_past(life):
                return
        if self._init_failed:
            return
        for life in self.containers:
            if life.spec.kind == "main" and life.step == "waiting":
                self._create(life, now)
        self._stop_sidecars(now)

    def _stop_sidecars(self, now: float) -> None:
        """Once all main containers of a pod that completes are done, the others are stopped."""
        if not self.spec.runs_to_completion:
            return
        if all(life.step == "done" for life in self.containers if life.spec.kind == "main"):
            for life in self.containers:
                if life.spec.kind in ("sidecar", "ephemeral") and life.step == "running":
                    life.step, life.ready = "stopping", False
                    life.due = now + self.stages.stop.draw(self.random)
                    self._tell("killing", life)

    def _step(self, life: ContainerLife, now: float) -> None:
        if life.step == "pulling":
            self._pulled(life, now)
        elif life.step in ("pullBackoff", "backoff"):
            self._create(life, now)
        elif life.step == "starting":
            self._started(life, now)
        elif life.step == "stopping":
            self._exit(life, now, life.spec.outcome.stopped_code if life.spec.outcome is not None else 0)

    def _create(self, life: ContainerLife, now: float) -> None:
        if life.spec.image in self.images and not life.spec.pull_always:
            self._tell("present", life)
            self._log(life, now, f"image {life.spec.image} is present")
            self._prepare(life, now)
            return
        self._tell("pulling", life)
        life.step, life.pull_began = "pulling", now
        known = life.spec.image in self.images
        life.due = now + self._draw(self.stages.start if known else self.stages.pull)

    def _pulled(self, life: ContainerLife, now: float) -> None:
        if self.spec.image_pull_error or self.fault.pull_error:
            self._tell("pullFailed", life)
            self._tell("pullError", life)
            self._tell("pullBackoff", life)
            life.pull_failures += 1
            life.step, life.due = "pullBackoff", now + self.stages.pull_backoff.after(life.pull_failures)
            return
        self.images.add(life.spec.image)
        milliseconds = round(1000 * (now - life.pull_began))
        self._tell("pulled", life, took=f"{milliseconds}ms", size=image_size(life.spec.image))
        self._log(life, now, f"pulled image {life.spec.image} in {milliseconds} ms")
        self._prepare(life, now)

    def _prepare(self, life: ContainerLife, now: float) -> None:
        life.step, life.due = "starting", now + self._draw(self.stages.start)

    def _started(self, life: ContainerLife, now: float) -> None:
        if life.incarnation:
            life.restarts += 1
        life.incarnation += 1
        life.container_id = f"containerd://{self.random.getrandbits(256):064x}"
        life.step, life.started_at = "running", now
        life.ready_at = now + life.spec.ready_after if life.spec.ready_after < FOREVER else None
        if life.ready_at is not None and life.ready_at <= now:
            life.ready, life.ready_at = True, None
        seconds = self.run_seconds(life)
        life.exit_at = None if seconds is None else now + seconds
        self._tell("created", life)
        self._tell("started", life)
        self._log(life, now, f"container {life.spec.name} started")
        if life.spec.outcome is not None:
            self.logged += (Logged(now, life.spec.name, life.incarnation, line) for line in life.spec.outcome.lines)

    def _draw(self, delay: Delay) -> float:
        return delay.draw(self.random) * self.fault.slow

    def run_seconds(self, life: ContainerLife) -> float | None:
        if life.spec.kind == "sidecar":
            return None
        if life.spec.kind == "ephemeral":
            return self._process_seconds(life, None)
        if life.spec.kind == "init":
            return self._process_seconds(life, self.stages.init_run)
        if self.fault.crash:
            return self.stages.crash_run.draw(self.random)
        if self.spec.run_seconds is not None:
            return self.spec.run_seconds
        if self.spec.crash_loop:
            return self.stages.crash_run.draw(self.random)
        return self._process_seconds(life, self.stages.job_run if self.spec.runs_to_completion else None)

    def _process_seconds(self, life: ContainerLife, default: Delay | None) -> float | None:
        """What the container's command says; `default` where it says nothing."""
        found = life.spec.outcome
        if found is None:
            return default.draw(self.random) if default is not None else None
        return found.seconds + self.stages.init_run.draw(self.random) if found.seconds < FOREVER else None

    def _exit_code(self, life: ContainerLife) -> int:
        if life.spec.kind == "main" and (self.spec.crash_loop or self.fault.crash):
            return self.spec.exit_code or 1
        if life.spec.kind == "main" and self.spec.exit_code is not None:
            return self.spec.exit_code
        return life.spec.outcome.code if life.spec.outcome is not None else 0

    def _exit(self, life: ContainerLife, now: float, code: int) -> None:
        life.last = Exit(code, "Error" if code else "Completed", life.started_at, now, life.container_id)
        life.ready, life.ready_at, life.exit_at = False, None, None
        self._log(life, now, f"container {life.spec.name} exited with code {code}")
        if not self.restarts(life, code) or self.terminating:
            life.step, life.due = "done", None
            return
        if now - life.started_at >= self.stages.restart_backoff.reset_after:
            life.crashes = 0
        life.crashes += 1
        # The first restart is at once, as the kubelet's.
        pause = self.stages.restart_backoff.after(life.crashes - 1) if life.crashes > 1 else 0.0
        life.step, life.due = "backoff", now + pause
        if pause:
            self._tell("restartBackoff", life)

    def restarts(self, life: ContainerLife, code: int) -> bool:
        if life.spec.kind == "ephemeral":
            return False
        if life.spec.kind == "sidecar":
            return life.step != "stopping"
        if self.spec.restart_policy == "Always":
            return life.spec.kind == "main" or code != 0
        return self.spec.restart_policy == "OnFailure" and code != 0

    def _tell(self, event: str, life: ContainerLife, **more: object) -> None:
        text = self.stages.events[event]
        spec = self.spec
        message = text.message.format(
            image=life.spec.image,
            container=life.spec.name,
            pod=spec.name,
            namespace=spec.namespace,
            uid=spec.uid,
            **more,
        )
        self.told.append(Told(text.type, text.reason, message, life.spec))

    def _log(self, life: ContainerLife, now: float, text: str) -> None:
        """A line of the simulation's own, where nothing is known of what the container would print."""
        if life.spec.outcome is not None:
            return
        incarnation = life.incarnation if life.running else life.incarnation + 1
        self.logged.append(Logged(now, life.spec.name, incarnation, text))


def image_size(image: str) -> int:
    """Bytes; made up, but always the same for an image: 20 to 220 MB."""
    return 20_000_000 + sum(ord(letter) * 7919 * (place + 1) for place, letter in enumerate(image)) % 200_000_000
