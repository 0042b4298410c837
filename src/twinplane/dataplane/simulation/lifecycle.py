"""The life of a simulated pod: a pure state machine from "bound to the node" to "gone".

Time goes in, and what happened comes out: `advance` plays everything that was due until now, in order, and collects
events and log lines; the caller writes status, sets a timer for `next_due`, and reads nothing else. A container goes

    waiting -> pulling -> starting -> running -> (stopping) -> done
                  ^ back-off ^---- backoff <---- exit

init containers one after another, sidecars as soon as the one before has started, main containers together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import NamedTuple

from twinplane.dataplane.simulation.container_life import (
    ContainerLife,
    Ending,
    Exit,
    ending,
    restarts,
    run_seconds,
    stopped,
)
from twinplane.dataplane.simulation.fleet.failures import NO_POD_FAULT, PodFault
from twinplane.dataplane.simulation.pod_spec import ContainerSpec, PodSpec
from twinplane.dataplane.simulation.process_outcome import FOREVER
from twinplane.dataplane.simulation.resize import Pending, Resources
from twinplane.dataplane.simulation.stages import Delay, Stages

IMAGES_MAX = 4096
"""Images whose size is remembered."""
DEADLINE = "Pod was active on the node longer than the specified deadline"
EVICTED = "The node was low on resource: {resource}. "


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


class PodFailure(NamedTuple):
    """The kubelet gave the pod up."""

    reason: str
    message: str
    disrupted: bool
    """Through no fault of its own: the pod gets the condition DisruptionTarget."""


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
    """It is being deleted."""
    stop_by: float = FOREVER
    """What still runs then is killed."""
    failed: PodFailure | None = None
    allocated: dict[str, Resources] | None = None
    """What the containers have, for a pod that was resized; None: what the spec says."""
    pending: Pending | None = None
    """Why the last resize has not taken effect."""
    told: list[Told] = field(default_factory=list)
    logged: list[Logged] = field(default_factory=list)
    _only_main: bool = True
    """No container waits for another."""

    def __post_init__(self) -> None:
        if not self.containers:
            self.containers = [ContainerLife(container) for container in self.spec.containers]
        self._only_main = all(life.spec.kind == "main" for life in self.containers)

    # -- what the caller does ------------------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """The address is there: set up the sandbox."""
        if self.sandbox_at is None and not self.ending:
            self.sandbox_at = now + self._draw(self.stages.sandbox)

    def terminate(self, now: float, grace_seconds: float) -> None:
        """SIGTERM to everything that runs; what has not started never will. Idempotent, but grace may get shorter."""
        self.terminating = True
        self._end(now, grace_seconds)

    def fail(self, now: float, failure: PodFailure, grace_seconds: float) -> None:
        """The kubelet gives it up: all containers stop, and none starts any more."""
        if not self.ending and not self.finished:
            self.failed = failure
            self._tell("evicted" if failure.disrupted else "deadline", None, why=failure.message)
            self._end(now, grace_seconds)

    def evict(self, now: float, resource: str) -> None:
        """For want of a resource of the node."""
        if not self.spec.critical:
            self.fail(now, PodFailure("Evicted", EVICTED.format(resource=resource), disrupted=True), 0.0)

    def _end(self, now: float, grace_seconds: float) -> None:
        self.stop_by = min(self.stop_by, now + grace_seconds)
        for life in self.containers:
            if life.step == "running" and life.spec.kind != "sidecar":
                self._stop(life, now)
            elif life.step == "stopping":
                life.due = min(life.due or now, self.stop_by)
            elif life.step not in ("done", "running"):
                life.step, life.due = "done", None
        self._stop_sidecars(now)

    def respec(self, spec: PodSpec, now: float) -> None:
        """The pod was changed: a container with another image is started anew, as the kubelet does."""
        before, self.spec = self.spec, spec
        if _chosen(before) != _chosen(spec):
            self._plan_exits(now)
        known = {container.name: container for container in spec.containers}
        for life in self.containers:
            old, life.spec = life.spec, known.get(life.spec.name, life.spec)
            if old.image != life.spec.image and not self.ending:
                # What another image went through does not count.
                life.crashes = life.pull_failures = 0
                if life.step == "running":
                    self._revive(life, now, "killingChanged")
                elif life.step in ("backoff", "pullBackoff"):
                    life.due = now

    def restart(self, container: str, now: float) -> None:
        """Of a running container, for the sake of its new resources."""
        for life in self.containers:
            if life.spec.name == container and life.step == "running" and not self.ending:
                self._revive(life, now, "killingResized")

    def attach(self, ephemeral: Iterable[ContainerSpec], now: float) -> None:
        """Containers were added to the pod, which start at once where it has a sandbox."""
        known = {life.spec.name for life in self.containers}
        self.containers += [ContainerLife(spec) for spec in ephemeral if spec.name not in known]
        self._only_main = len(self.containers) == len(known) and self._only_main
        if self.sandboxed and not self.ending:
            self._start_next(now)

    def set_fault(self, fault: PodFault, now: float) -> None:
        """A failure begins or ends. Containers that run crash, or run on; what is slow or waits keeps its time."""
        before, self.fault = self.fault, fault
        if fault.evicted and not before.evicted:
            self.evict(now, fault.evicted)
        if before.crash != fault.crash:
            self._plan_exits(now)

    def set_stages(self, stages: Stages, now: float) -> None:
        """Other data: containers that run end as it says, from now on; what is under way keeps its time."""
        before, self.stages = self.stages, stages
        if before.run != stages.run:
            self._plan_exits(now)

    def _plan_exits(self, now: float) -> None:
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
        due: float | None = None
        if not self.sandboxed and not self.ending:
            due = self.sandbox_at
        else:
            for life in self.containers:
                for moment in (life.due, life.ready_at, life.exit_at, life.unhealthy_at):
                    if moment is not None and (due is None or moment < due):
                        due = moment
        if self.spec.active_deadline is None or (deadline := self._deadline) is None:
            return due
        return deadline if due is None else min(due, deadline)

    def drain(self) -> tuple[list[Told], list[Logged]]:
        told, logged = self.told, self.logged
        self.told, self.logged = [], []
        return told, logged

    @property
    def ending(self) -> bool:
        """Nothing is started any more."""
        return self.terminating or self.failed is not None

    @property
    def _deadline(self) -> float | None:
        """Of its `activeDeadlineSeconds`, while that matters."""
        seconds = self.spec.active_deadline
        return None if seconds is None or self.ending or self.finished else self.started_at + seconds

    # -- what the status is made of ------------------------------------------------------------------------------

    @property
    def initialized(self) -> bool:
        """Init containers are done and sidecars run, or were once."""
        if self._only_main or any(life.ever_started for life in self.containers if life.spec.kind == "main"):
            return True
        return all(self._is_past(life) for life in self.containers if life.spec.kind in ("init", "sidecar"))

    @property
    def finished(self) -> bool:
        """No container runs or will run again."""
        last = (life for life in self.containers if life.spec.kind in ("init", "main"))
        return all(life.step == "done" for life in last) or self._init_failed

    @property
    def stopped(self) -> bool:
        """Nothing runs any more: a terminating pod may go."""
        return not any(life.running for life in self.containers)

    @property
    def phase(self) -> str:
        if self._init_failed or (self.failed is not None and self.stopped):
            return "Failed"
        main = [life for life in self.containers if life.spec.kind == "main"]
        over = self.ending and self.stopped
        if not over and (not self.initialized or not all(life.ever_started for life in main)):
            return "Pending"
        sidecars = not self._only_main and any(life.running for life in self.containers if life.spec.kind == "sidecar")
        if all(life.step == "done" for life in main) and not sidecars:
            return "Succeeded" if all(life.succeeded for life in main) else "Failed"
        return "Running"

    @property
    def _init_failed(self) -> bool:
        return any(life.spec.kind == "init" and life.step == "done" and not life.succeeded for life in self.containers)

    @staticmethod
    def _is_past(life: ContainerLife) -> bool:
        """An init container that lets the next one start."""
        return life.running if life.spec.kind == "sidecar" else life.succeeded

    # -- the machine ---------------------------------------------------------------------------------------------

    def _fire(self, now: float) -> None:
        if self.spec.active_deadline is not None and (deadline := self._deadline) is not None and deadline <= now:
            self.fail(now, PodFailure("DeadlineExceeded", DEADLINE, disrupted=False), self.spec.grace_seconds)
            return
        if not self.sandboxed and not self.ending:
            self.sandboxed = True
        for life in self.containers:
            if life.ready_at is not None and life.ready_at <= now:
                life.ready_at, life.ready = None, life.step == "running"
            if life.exit_at is not None and life.exit_at <= now:
                life.exit_at = None
                self._exit(life, now, ending(self.spec, life.spec, self.stages, self.fault))
            elif life.unhealthy_at is not None and life.unhealthy_at <= now:
                self._tell("unhealthy", life, probe=life.spec.failing_probe.capitalize())
                self._revive(life, now, "killingUnhealthy")
            elif life.due is not None and life.due <= now:
                life.due = None
                self._step(life, now)
        if self.ending:
            self._stop_sidecars(now)
        else:
            self._start_next(now)

    def _start_next(self, now: float) -> None:
        if not self._only_main:
            self._start_in_order(now)
            return
        for life in self.containers:
            if life.step == "waiting":
                self._create(life, now)

    def _start_in_order(self, now: float) -> None:
        self._stop_sidecars(now)
        if self._init_failed:
            return
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
        for life in self.containers:
            if life.spec.kind == "main" and life.step == "waiting":
                self._create(life, now)

    def _stop_sidecars(self, now: float) -> None:
        """Once nothing else runs any more: the last one first, each when the one behind it has stopped."""
        if self._only_main:
            return
        main = [life for life in self.containers if life.spec.kind == "main"]
        if not (self.ending or self._init_failed or all(life.step == "done" for life in main)):
            return
        for life in self.containers:
            if life.spec.kind == "ephemeral" and life.step == "running":
                self._stop(life, now)
            elif life.spec.kind == "sidecar" and not life.running:
                life.step, life.due = "done", None
        if any(life.running for life in self.containers if life.spec.kind in ("main", "init")):
            return
        sidecars = (life for life in reversed(self.containers) if life.spec.kind == "sidecar" and life.running)
        last = next(sidecars, None)
        if last is not None and last.step == "running":
            self._stop(last, now)

    def _stop(self, life: ContainerLife, now: float, event: str = "killing") -> None:
        life.revived = False
        life.stop(now, min(self.stop_by, now + self.spec.grace_seconds), self.stages.stop.draw(self.random))
        self._tell(event, life, probe=life.spec.failing_probe)

    def _revive(self, life: ContainerLife, now: float, event: str) -> None:
        self._stop(life, now, event)
        life.revived = True

    def _step(self, life: ContainerLife, now: float) -> None:
        if life.step == "pulling":
            self._pulled(life, now)
        elif life.step in ("pullBackoff", "backoff"):
            self._create(life, now)
        elif life.step == "starting":
            self._started(life, now)
        elif life.step == "stopping":
            self._exit(life, now, stopped(life))

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
            life.pull_error = self._tell("pullFailed", life).partition(": ")[2]
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
        spec = life.spec
        ready_after = spec.ready_after + (self.stages.ready.draw(self.random) if spec.kind != "init" else 0.0)
        life.ready_at = now + ready_after if ready_after < FOREVER else None
        if life.ready_at is not None and life.ready_at <= now:
            life.ready, life.ready_at = True, None
        life.unhealthy_at = now + spec.unhealthy_after if spec.unhealthy_after < FOREVER else None
        seconds = self.run_seconds(life)
        life.exit_at = None if seconds is None else now + seconds
        self._tell("created", life)
        self._tell("started", life)
        self._log(life, now, f"container {spec.name} started")
        self.logged += (Logged(now, spec.name, life.incarnation, line) for line in self._printed(spec))

    def _printed(self, spec: ContainerSpec) -> tuple[str, ...]:
        if self.stages.log is not None and spec.kind == "main":
            return self.stages.log
        return spec.outcome.lines if spec.outcome is not None else ()

    def _draw(self, delay: Delay) -> float:
        return delay.draw(self.random) * self.fault.slow

    def run_seconds(self, life: ContainerLife) -> float | None:
        return run_seconds(self.spec, life.spec, self.stages, self.fault, self.random)

    def _exit(self, life: ContainerLife, now: float, end: Ending) -> None:
        code, reason, message = end
        reason = reason or ("Error" if code else "Completed")
        life.last = Exit(code, reason, life.started_at, now, life.container_id, message)
        told_to = life.step == "stopping" and not life.revived
        life.ready, life.ready_at, life.exit_at, life.unhealthy_at = False, None, None, None
        self._log(life, now, f"container {life.spec.name} exited with code {code}")
        if told_to or self.ending or not (life.revived or restarts(self.spec, life.spec, code)):
            life.step, life.due = "done", None
            return
        rule = life.spec.rule_after(code) if not life.revived else None
        if rule is not None and rule.everything:
            self._reset(now, life)
            return
        life.revived = False
        if now - life.started_at >= self.stages.restart_backoff.reset_after:
            life.crashes = 0
        life.crashes += 1
        # The first restart is at once, as the kubelet's.
        pause = self.stages.restart_backoff.after(life.crashes - 1) if life.crashes > 1 else 0.0
        life.step, life.due = "backoff", now + pause
        if pause:
            self._tell("restartBackoff", life)

    def _reset(self, now: float, cause: ContainerLife) -> None:
        """In place: what runs is killed at once, and the pod begins anew with its init containers."""
        for life in self.containers:
            if life.spec.kind != "ephemeral":
                if life.running and life is not cause:
                    self._tell("killing", life)
                life.reset(now)

    def _tell(self, event: str, life: ContainerLife | None, **more: object) -> str:
        text = self.stages.events[event]
        spec = self.spec
        message = text.message.format(
            image=life.spec.image if life is not None else "",
            container=life.spec.name if life is not None else "",
            pod=spec.name,
            namespace=spec.namespace,
            uid=spec.uid,
            **more,
        )
        self.told.append(Told(text.type, text.reason, message, life.spec if life is not None else None))
        return message

    def _log(self, life: ContainerLife, now: float, text: str) -> None:
        """A line of the simulation's own, where nothing is known of what the container would print."""
        if life.spec.outcome is not None or (self.stages.log is not None and life.spec.kind == "main"):
            return
        incarnation = life.incarnation if life.running else life.incarnation + 1
        self.logged.append(Logged(now, life.spec.name, incarnation, text))


def _chosen(spec: PodSpec) -> tuple[object, ...]:
    """How annotations let main containers end."""
    return spec.run_seconds, spec.exit_code, spec.crash_loop


@lru_cache(IMAGES_MAX)
def image_size(image: str) -> int:
    """Bytes; made up, but always the same for an image: 20 to 220 MB."""
    return 20_000_000 + sum(ord(letter) * 7919 * (place + 1) for place, letter in enumerate(image)) % 200_000_000
