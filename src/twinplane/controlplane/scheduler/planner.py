"""The scheduler's core: pods in, decisions with reasons out. No I/O, no clock; equal input gives equal output.

`Planner.place` decides for one pod and counts it on its node at once, so that the next pod sees it; the caller binds it
and takes it back (`Snapshot.remove_pod`) when binding fails. `plan` does the same on a copy, for what-if questions.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from twinplane.controlplane.scheduler import reasons
from twinplane.controlplane.scheduler.classes import Classes, Restrictions, own_shape
from twinplane.controlplane.scheduler.devices.inventory import DevicePlan
from twinplane.controlplane.scheduler.framework import Plugin
from twinplane.controlplane.scheduler.plugins import DEFAULT_PLUGINS, dynamic_resources
from twinplane.controlplane.scheduler.preemption import DEFAULT_PREEMPTION, Outcome, PreemptionArgs, preempt
from twinplane.controlplane.scheduler.ranking import Ranking, by_reason
from twinplane.controlplane.scheduler.shape import Pod, PodShape
from twinplane.controlplane.scheduler.snapshot import Snapshot
from twinplane.controlplane.scheduler.standing import Standings
from twinplane.controlplane.scheduler.storage import VolumePlan

RANKED_MAX = 1_000_000
"""Entries of all rankings that are kept; each has one a node."""
ASKED_MAX = 100
"""In clusters of so many nodes upstream's filters look at each of them."""
RANKINGS_MIN = 64
"""Pod classes whose ranking is kept however many nodes there are."""
GOLDEN_RATIO = (5**0.5 - 1) / 2
"""Its multiples, modulo 1, lie as far from one another as can be, however many there are."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a pod goes, or why it goes nowhere and what preemption would do about it."""

    pod: Pod
    node: str | None
    message: str = ""
    plugins: frozenset[str] = frozenset()
    """Those that refused: only what concerns them can help."""
    nominated: str | None = None
    victims: tuple[Pod, ...] = ()
    volumes: VolumePlan | None = None
    """To be written, and waited for, before the binding; devices likewise."""
    devices: DevicePlan | None = None
    failed: bool = False
    """In error: it is tried again after its back-off, whatever happens."""
    deallocated: str = ""
    """Key of an idle ResourceClaim that shall give up its devices for others."""


class Planner:
    """Decides by one profile: its plugins, and whether it preempts (`preemption` None: it does not)."""

    def __init__(
        self,
        snapshot: Snapshot,
        plugins: Sequence[Plugin] = DEFAULT_PLUGINS,
        preemption: PreemptionArgs | None = DEFAULT_PREEMPTION,
    ) -> None:
        self.snapshot = snapshot
        self._plugins = plugins
        self._preemption = preemption
        self._classes = Classes(snapshot)
        self._standings = Standings(snapshot, plugins)
        self._rankings: OrderedDict[PodShape, Ranking] = OrderedDict()
        self._ranked = 0

    def place(self, pod: Pod) -> Decision:
        snapshot = self.snapshot
        promised = pod.nominated or snapshot.home_of(pod.uid) or ""
        if promised != pod.nominated:
            # The informer has not brought the nomination back yet.
            pod = pod._replace(nominated=promised)
        snapshot.remove_pod(pod.uid)
        shape = own_shape(pod, snapshot)
        own = Restrictions(shape, snapshot, self._plugins) if shape.is_personal else None
        ranking = self._ranking(self._classes.class_of(pod.shape))
        node = None
        if own is None:
            node = ranking.pick(promised)
        elif own.rejection is None:
            if own.searches and len(snapshot.nodes) <= ASKED_MAX:
                ranking.pick("", own.ask)
            # Claims that make some nodes better than others: nobody else sees them so.
            mine = Ranking(shape, snapshot, self._plugins) if own.ranks else ranking
            node = mine.pick(promised, own.allow)
        if own is not None and own.error:
            return Decision(pod, None, own.error, nominated=self._kept(pod), failed=True)
        if node is None:
            # Why not, in full: only a ranking for this very pod knows what its claims have to do with it.
            return self._refused(pod, ranking if own is None else Ranking(shape, snapshot, self._plugins))
        volumes = own.reserve(node) if own is not None else None
        snapshot.place(pod, node)
        if volumes is not None:
            snapshot.surroundings.storage.assume(pod.uid, volumes)
        devices = own.allocate(node) if own is not None else None
        if devices is not None:
            snapshot.surroundings.devices.assume(devices)
        return Decision(pod, node.name, volumes=volumes, devices=devices)

    def _refused(self, pod: Pod, ranking: Ranking) -> Decision:
        snapshot = self.snapshot
        count = len(snapshot.nodes)
        rejection = ranking.checks.rejection
        if rejection is not None:
            by_devices = rejection.plugin == dynamic_resources.NAME
            message = reasons.rejected(count, rejection.reasons[0], by_devices=by_devices)
            return Decision(pod, None, message, frozenset((rejection.plugin,)), self._kept(pod))
        refusals = ranking.counted()
        idle = ranking.checks.idle_claim() if ranking.shape.uses_devices else ""
        made = idle in snapshot.surroundings.devices.extended.values()
        claims = reasons.of_claims(ranking.shape.uses_devices, idle, made=made)
        outcome = self._preempt(pod, ranking) if refusals else Outcome()
        for victim in outcome.victims:
            if not victim.node:
                # It was only promised the node; it will look for another.
                snapshot.remove_pod(victim.uid)
        nominated = outcome.node
        if nominated is not None:
            # The room that the victims leave is kept for the pod until its turn comes again.
            snapshot.add_pod(pod, nominated)
        elif outcome.message in reasons.NOT_ELIGIBLE:
            nominated = self._kept(pod)
        return Decision(
            pod,
            None,
            reasons.unschedulable(count, by_reason(refusals), outcome.message, claims),
            frozenset(refusal.plugin for refusal in refusals),
            nominated,
            outcome.victims,
            deallocated=idle,
        )

    def _kept(self, pod: Pod) -> str | None:
        """An earlier promise stands; it is forgotten only when preemption was tried in vain."""
        if pod.nominated:
            self.snapshot.add_pod(pod, pod.nominated)
        return pod.nominated or None

    def _preempt(self, pod: Pod, ranking: Ranking) -> Outcome:
        if self._preemption is None:
            return Outcome(message=None)
        return preempt(pod, ranking, self.snapshot, self._preemption)

    def _ranking(self, shape: PodShape) -> Ranking:
        ranking = self._rankings.get(shape)
        if ranking is None:
            self._ranked += 1
            start = self._ranked * GOLDEN_RATIO % 1.0 if self.snapshot.is_shuffled else 0.0
            ranking = Ranking(shape, self.snapshot, self._plugins, self._standings, start=start)
            self._rankings[shape] = ranking
            if len(self._rankings) > max(RANKINGS_MIN, RANKED_MAX // max(len(self.snapshot.nodes), 1)):
                self._rankings.popitem(last=False)
        else:
            self._rankings.move_to_end(shape)
        return ranking


def plan(
    snapshot: Snapshot,
    pods: Iterable[Pod],
    plugins: Sequence[Plugin] = DEFAULT_PLUGINS,
    preemption: PreemptionArgs | None = DEFAULT_PREEMPTION,
) -> list[Decision]:
    """Decide for pods in their order, leaving `snapshot` as it is."""
    planner = Planner(snapshot.copy(), plugins, preemption)
    return [planner.place(pod) for pod in pods]
