"""One pod's worker: looks at what runs, plans, acts, tells; again whenever something changed.

    syncing -> ending (deleted, failed, done) -> ended -> gone (containers, volumes, records)

Level-triggered: every step starts from what the runtime says now, so a step that was cut off or failed is simply done
again, and an agent that was restarted goes on where the pod is. Source of the rules: kubelet `pod_workers.go`,
`SyncPod`, `SyncTerminatingPod`, `SyncTerminatedPod`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from twinplane.clock import Clock
from twinplane.dataplane.kubelet.containers.cgroups import Cgroups
from twinplane.dataplane.kubelet.containers.config import container_hash
from twinplane.dataplane.kubelet.containers.errors import ContainerRefused
from twinplane.dataplane.kubelet.contract import Mounted, PodVolumes, VolumeNotReady
from twinplane.dataplane.kubelet.events import PodEvents, go_duration
from twinplane.dataplane.kubelet.images.puller import ImagePuller
from twinplane.dataplane.kubelet.pods.allocation import Allocations
from twinplane.dataplane.kubelet.pods.backoff import Backoff
from twinplane.dataplane.kubelet.pods.launching import Launcher
from twinplane.dataplane.kubelet.pods.observer import Observer
from twinplane.dataplane.kubelet.pods.plan import Facts, Plan, plan, restarts
from twinplane.dataplane.kubelet.pods.probing import PodProbes, ProbeObserver
from twinplane.dataplane.kubelet.pods.resizing import Resizer
from twinplane.dataplane.kubelet.pods.spec import Container, all_containers, full_name, grace_seconds
from twinplane.dataplane.kubelet.pods.state import NOTHING, PodState
from twinplane.dataplane.kubelet.pods.stopping import Stopper
from twinplane.dataplane.kubelet.probes.actions import Prober
from twinplane.dataplane.kubelet.status.conditions import OWNED, Verdict
from twinplane.dataplane.kubelet.status.containers import Observed
from twinplane.dataplane.kubelet.status.generate import FINISHED, pod_status
from twinplane.dataplane.runtime.contract import Runtime, RuntimeFailure
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import is_deleting, name_of, namespace_of, time_of, uid_of

log = logging.getLogger(__name__)

RETRY_SECONDS = (0.5, 10.0)
"""First and longest pause after a step that failed, doubling."""
REFRESH_SECONDS = 60.0
"""Between refreshes of ConfigMaps, Secrets and tokens in volumes, and a look without a reason."""
SHORT_LIFE_SECONDS = 0.2
"""After a start: init containers and jobs may have ended by then."""
DEADLINE_MESSAGE = "Pod was active on the node longer than the specified deadline"


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What all workers of a node share."""

    runtime: Runtime
    observer: Observer
    launcher: Launcher
    stopper: Stopper
    images: ImagePuller
    volumes: PodVolumes
    cgroups: Cgroups
    prober: Prober
    events: PodEvents
    resizer: Resizer
    allocations: Allocations
    clock: Clock
    random: Random
    host_ips: tuple[str, ...]
    report: Callable[[str, dict[str, Any]], None]
    """A pod's new status, by uid."""
    resized: Callable[[], None]
    """A pod has been resized: others may have room now."""
    stopped: Callable[[str], None]
    """Nothing of a pod runs any more, by uid."""
    ended: Callable[[str], None]
    """Nothing of a pod is left on the node, by uid."""
    handler: Callable[[Object], Any]
    """Awaitable: the runtime handler of a pod's RuntimeClass."""
    probe_observed: ProbeObserver | None = None


class PodWorker:
    """`run` until the pod is gone. `pod` always carries the status that was worked out last."""

    def __init__(self, pod: Object, parts: WorkerParts) -> None:
        self.pod = pod
        self.uid = uid_of(pod)
        self.state: PodState = NOTHING
        self.ending = False
        self.ended = False
        self.removed = False
        """The pod is no longer there to be run: it is stopped without anybody to tell."""
        self.failed: tuple[str, str] | None = None
        self.finished = asyncio.Event()
        """Set when nothing of it runs any more."""
        self._parts = parts
        self._clock = parts.clock
        self._grace: float | None = None
        self._conditions: dict[str, Verdict] = {}
        self._waiting: dict[str, tuple[str, str]] = {}
        self._backoff = Backoff()
        self._failures = 0
        self._refreshed_at = 0.0
        self._stale = False
        self._wake = asyncio.Event()
        self._step: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._probes = PodProbes(
            parts.prober,
            events=parts.events,
            clock=parts.clock,
            host_ip=parts.host_ips[0],
            observed=parts.probe_observed,
            changed=self.wake,
        )

    # -- what others do to it ------------------------------------------------------------------------------------

    def wake(self) -> None:
        self._wake.set()

    def refresh(self) -> None:
        """What its volumes are made of has changed."""
        self._stale = True
        self.wake()

    def update(self, pod: Object) -> None:
        """The pod as its source has it now; the status worked out here stays, but for what others have added."""
        shorter = is_deleting(pod) and (not is_deleting(self.pod) or grace_seconds(pod) < grace_seconds(self.pod))
        news = _differs(self.pod, pod)
        self.pod = {**pod, "status": _merged_status(self.pod.get("status") or {}, pod.get("status") or {})}
        if shorter:
            self._end_now()
        if news:
            self.refresh()

    def remove(self, grace: float | None = None) -> None:
        """Its source has it no longer."""
        if not self.removed:
            self.removed = True
            if grace is not None:
                self._grace = grace
            self._end_now()

    def fail(self, reason: str, message: str, grace: float | None, conditions: dict[str, Verdict]) -> None:
        """The node ends it: eviction, deadline, refusal."""
        if self.failed is None and not self.ending:
            self.failed = (reason, message)
            self._conditions |= conditions
            self._grace = grace
            self._end_now()

    def _end_now(self) -> None:
        """What is being done for its life is cut off; a stop that is under way begins anew with its shorter grace."""
        self.ending = True
        if self._step is not None:
            self._step.cancel()
        self.wake()

    # -- the loop ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        try:
            while not (self.ended and (self.removed or is_deleting(self.pod))):
                await self._wake.wait()
                self._wake.clear()
                self._step = asyncio.create_task(self._do_step(), name=f"step of {name_of(self.pod)}")
                await asyncio.wait([self._step])
                self._after_step(self._step)
            await self._until_gone()
        finally:
            if self._step is not None:
                self._step.cancel()
            if self._timer is not None:
                self._timer.cancel()
            self._probes.stop()

    def _after_step(self, step: asyncio.Task[None]) -> None:
        if step.cancelled():
            return
        error = step.exception()
        if error is None:
            self._failures = 0
            return
        first, longest = RETRY_SECONDS
        self._wake_in(min(first * 2**self._failures, longest))
        self._failures = min(self._failures + 1, 8)
        if isinstance(error, RuntimeFailure | OSError | VolumeNotReady):
            log.warning("pod %s: %s", full_name(self.pod), error)
        else:
            log.error("pod %s", full_name(self.pod), exc_info=error)

    async def _do_step(self) -> None:
        self.state = await self._parts.observer.observe(self.uid)
        if self.ending:
            await self._end()
            return
        self._probes.follow(self.pod, self.state)
        self._report()
        if self.pod["status"]["phase"] in FINISHED:
            self.ending = True
            self.wake()
            return
        if self._past_deadline():
            return
        await self._sync()

    def _wake_in(self, seconds: float) -> None:
        """The earliest of what is asked for before the next step counts."""
        loop = asyncio.get_running_loop()
        at = loop.time() + max(seconds, 0.0)
        if self._timer is not None and not self._timer.cancelled() and loop.time() < self._timer.when() <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(at, self.wake)

    # -- living --------------------------------------------------------------------------------------------------

    async def _sync(self) -> None:
        parts = self._parts
        pod = parts.allocations.of(self.pod)
        resize, conditions = parts.resizer.wanted(pod, self.state)
        if self._conditions and not conditions:
            parts.resized()
        self._conditions = conditions
        made = plan(pod, self.state, self._facts(resize))
        if not made.idle:
            await self._apply(made)
            self.state = await parts.observer.observe(self.uid)
            self._probes.follow(self.pod, self.state)
        self._report()
        if self.pod["status"]["phase"] in FINISHED:
            self.wake()
        now = self._clock.now()
        if (self._stale or now - self._refreshed_at >= REFRESH_SECONDS) and not made.create_sandbox:
            self._stale, self._refreshed_at = False, now
            await parts.volumes.refresh(self.pod)
        self._wake_in(REFRESH_SECONDS * (1 + parts.random.random() / 4))

    def _facts(self, resize: Mapping[str, str]) -> Facts:
        findings = self._probes.findings
        return Facts(
            failed_liveness=frozenset(key for key, found in findings.items() if found.failed_liveness),
            failed_startup=frozenset(key for key, found in findings.items() if found.failed_startup),
            started=frozenset(key for key, found in findings.items() if found.started),
            hashes={container["name"]: container_hash(container) for _, container in all_containers(self.pod)},
            resize=resize,
        )

    async def _apply(self, made: Plan) -> None:
        parts = self._parts
        if made.kill_pod:
            if made.create_sandbox and self.state.sandboxes:
                text = "Pod sandbox changed, it will be killed and re-created."
                parts.events.normal(self.pod, "SandboxChanged", text)
            await parts.stopper.stop_pod(self.pod, self.state)
            if not made.create_sandbox:
                self.wake()
                return
        kills = (parts.stopper.stop(self.pod, kill.container, kill.message, None, kill.probe) for kill in made.kill)
        await asyncio.gather(*kills)
        for container in made.resize:
            if await parts.resizer.resize(parts.allocations.of(self.pod), container, self.state):
                self.wake()
            else:
                self._wake_in(RETRY_SECONDS[1])
        if made.kill:
            self.state = await parts.observer.observe(self.uid)
        if not (made.create_sandbox or made.start):
            return
        mounted = await self._mount()
        if made.create_sandbox:
            handler = await parts.handler(self.pod)
            await parts.launcher.create_sandbox(parts.allocations.of(self.pod), made.attempt, handler)
            self.state = await parts.observer.observe(self.uid)
        for container in made.start:
            await self._start(container, mounted)

    async def _mount(self) -> Mapping[str, Mounted]:
        try:
            mounted = await self._parts.volumes.mount(self.pod)
        except VolumeNotReady as error:
            self._parts.events.warning(self.pod, "FailedMount", str(error))
            raise
        if not self._refreshed_at:
            self._refreshed_at = self._clock.now()
        return mounted

    async def _start(self, container: Container, mounted: Mapping[str, Mounted]) -> None:
        """A start that does not come about is told in the container's status, and tried again in its time."""
        name = container["name"]
        if self._in_backoff(container):
            return
        try:
            pod = self._parts.allocations.of(self.pod)
            await self._parts.launcher.start(pod, container, self.state, mounted)
        except ContainerRefused as error:
            self._waiting[name] = (error.reason, error.message)
            pause = self._parts.images.retry_in(self.pod, container)
            self._wake_in(pause or RETRY_SECONDS[1])
            if error.reason in ("ErrImagePull", "RegistryUnavailable"):
                # Shown as what it is first, as a back-off from the next look on.
                self._wake_in(RETRY_SECONDS[0])
        else:
            self._waiting.pop(name, None)
            self._parts.resizer.started(self.uid, container)
            # The next container's start is decided by what this one has come to, which may take but a moment.
            self.wake()
            self._wake_in(SHORT_LIFE_SECONDS)

    def _in_backoff(self, container: Container) -> bool:
        name = container["name"]
        last = self.state.latest(name)
        if last is None or last.state != "exited":
            return False
        key, now = f"{name}_{container_hash(container)}", self._clock.now()
        left = self._backoff.left(key, last.finished_at, now)
        if left > 0:
            text = f"back-off {go_duration(self._backoff.seconds(key))} restarting failed container={name}"
            waiting = ("CrashLoopBackOff", f"{text} pod={full_name(self.pod)}")
            if self._waiting.get(name) != waiting:
                event = f"Back-off restarting failed container {name} in pod {full_name(self.pod)}"
                self._parts.events.warning(self.pod, "BackOff", event, container)
            self._waiting[name] = waiting
            self._wake_in(left)
            return True
        self._backoff.use(key, last.finished_at, now)
        return False

    def _past_deadline(self) -> bool:
        seconds = self.pod["spec"].get("activeDeadlineSeconds")
        started = time_of(self.pod["status"].get("startTime"))
        if seconds is None or not started:
            return False
        left = started + float(seconds) - self._clock.now()
        if left > 0:
            self._wake_in(left)
            return False
        self._parts.events.normal(self.pod, "DeadlineExceeded", DEADLINE_MESSAGE)
        self.failed = ("DeadlineExceeded", DEADLINE_MESSAGE)
        self.ending = True
        self.wake()
        return True

    # -- ending --------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        parts = self._parts
        if not self.ended:
            self._probes.follow(self.pod, self.state)
            self._report()
            await parts.stopper.stop_pod(self.pod, self.state, self._grace)
            self._probes.stop()
            self.state = await parts.observer.observe(self.uid)
            if self.state.running:
                raise RuntimeFailure("containers are still running")
            parts.stopped(self.uid)
            self._report(over=True)
            self.finished.set()
            await parts.volumes.unmount(self.uid)
            parts.cgroups.remove(self.uid)
            self.ended = True
        if not (self.removed or is_deleting(self.pod)):
            self._report(over=True)

    async def _until_gone(self) -> None:
        """Take away what the runtime keeps of it, as long as that takes."""
        parts = self._parts
        for attempt in range(1000):
            try:
                for sandbox in self.state.sandboxes:
                    await parts.runtime.remove_pod_sandbox(sandbox.id)
                break
            except RuntimeFailure as error:
                log.warning("removing %s: %s", full_name(self.pod), error)
                await asyncio.sleep(min(RETRY_SECONDS[0] * 2 ** min(attempt, 8), RETRY_SECONDS[1]))
        parts.images.forget(self.uid)
        parts.resizer.forget(self.uid)
        parts.ended(self.uid)

    # -- telling -------------------------------------------------------------------------------------------------

    def _report(self, *, over: bool = False) -> None:
        observed = Observed(
            state=self.state,
            waiting=self._waiting,
            findings=self._probes.findings,
            resources=self._parts.resizer.actual(self.uid),
            stopped=self.ending,
            over=over,
            restarts=lambda container, state: restarts(self.pod, container, state),
        )
        failed = None if self.removed else self.failed
        now = self._clock.now()
        more = self._conditions | self._parts.allocations.conditions(self.uid)
        if over:
            more.pop("PodResizeInProgress", None)
        pod = self._parts.allocations.of(self.pod)
        status = pod_status(pod, observed, self._parts.host_ips, now, failed=failed, more=more)
        theirs = self.pod.get("status") or {}
        self.pod = {**self.pod, "status": _merged_status(status, theirs)}
        self._parts.report(self.uid, status)

    @property
    def title(self) -> tuple[str, str]:
        return namespace_of(self.pod), name_of(self.pod)


def _differs(old: Object, new: Object) -> bool:
    """Whether somebody has changed it, other than by writing the status that was worked out here."""
    for name in ("labels", "annotations", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
        if old["metadata"].get(name) != new["metadata"].get(name):
            return True
    return old["spec"] != new["spec"] or _foreign_conditions(old) != _foreign_conditions(new)


def _foreign_conditions(pod: Object) -> dict[str, Any]:
    found = (pod.get("status") or {}).get("conditions") or ()
    return {item["type"]: item.get("status") for item in found if item["type"] not in OWNED}


def _merged_status(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Ours, with what only others write: conditions of types that we do not have, and whole fields."""
    known = {item["type"] for item in ours.get("conditions") or ()}
    foreign = [item for item in theirs.get("conditions") or () if item["type"] not in known]
    made = {**{key: value for key, value in theirs.items() if key not in ours}, **ours}
    made["conditions"] = [*(ours.get("conditions") or ()), *foreign]
    return made
