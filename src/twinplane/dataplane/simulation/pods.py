"""The kubelets' pod side: pods bound to our nodes come to life, change, and go.

One informer, one heap of timers and a bounded number of writers for all nodes. The life itself is `lifecycle`; here it
is given its inputs (an address, a deletion, the time) and its outputs are written (status, events, log lines).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence

from twinplane.dataplane.simulation import kubelet_admission
from twinplane.dataplane.simulation.addresses import NO_ADDRESS, Addresses, AddressPool
from twinplane.dataplane.simulation.document import InvalidFleet
from twinplane.dataplane.simulation.fleet.failures import KINDS, NO_POD_FAULT, Failure, PodFacts, PodFault, pod_fault
from twinplane.dataplane.simulation.fleet.life_cycles import LifeCycle, stages_of
from twinplane.dataplane.simulation.lifecycle import PodLife
from twinplane.dataplane.simulation.logs import Logs
from twinplane.dataplane.simulation.nodes import SimulatedNode
from twinplane.dataplane.simulation.outbox import Outbox
from twinplane.dataplane.simulation.pod_spec import Replicas, ephemeral_containers, pod_spec
from twinplane.dataplane.simulation.pod_status import pod_status, recovered_life
from twinplane.dataplane.simulation.pod_writer import PodWriter
from twinplane.dataplane.simulation.resize import RESIZABLE, Pending, Resources, resources_of, restarted, shortage, turn
from twinplane.dataplane.simulation.runtime import Runtime
from twinplane.dataplane.simulation.simulated_pod import FINISHED, SimulatedPod
from twinplane.dataplane.simulation.stages import STAGES_ANNOTATION, Stages, annotated
from twinplane.dataplane.simulation.timers import Timers
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.informer_contract import Informer
from twinplane.kubeclient.meta import is_deleting, labels_of, name_of, namespace_of, uid_of

__all__ = ["PodFleet", "SimulatedPod"]

ADDRESS_RETRY_SECONDS = 5.0
FIRST_STATUS_SECONDS = 0.25
"""A pod that runs within this time says so with its first status, which saves every other write: nobody would have seen
that it was being created."""
WRITERS = 48
"""Thousands of kubelets write at once, and while the server is busy an answer takes 50 ms and more: with few writers
pods would run long before anybody knew. Together with the nodes' writers what the client lets through."""
BY_NODE = "node"
ANNOTATIONS_MAX = 1000
"""Different ones remembered; beyond it they are read anew."""


class PodFleet:
    def __init__(
        self,
        runtime: Runtime,
        informer: Informer,
        stages: Stages,
        logs: Logs,
        *,
        node: Callable[[str], SimulatedNode | None],
        failures: Callable[[str], Sequence[Failure]] = lambda fleet: (),
        life_cycles: Callable[[str], Sequence[LifeCycle]] = lambda fleet: (),
    ) -> None:
        """`node` gives a node of ours that runs, by name; `failures` and `life_cycles` those of a fleet."""
        self._failures = failures
        self._life_cycles = life_cycles
        self._runtime = runtime
        self._clock = runtime.clock
        self._informer = informer
        self._stages = stages
        self._logs = logs
        self._node = node
        self._pods: dict[str, SimulatedPod] = {}
        self._by_node: defaultdict[str, dict[str, SimulatedPod]] = defaultdict(dict)
        self._by_address: dict[str, SimulatedPod] = {}
        self._replicas = Replicas()
        self._deferred: set[str] = set()
        """uids of pods whose resize waits for others to leave."""
        self._annotated: dict[tuple[str, int], tuple[Stages, Stages, str]] = {}
        """By annotation and what it is laid over, which is kept with it: (that, both together, what is wrong)."""
        self._writer = PodWriter(runtime)
        self._outbox = Outbox("pods", self._write, WRITERS)
        self._timers = Timers(runtime.clock, self._timer)
        self.addresses = Addresses(runtime.aws, runtime.clock, self._assigned, self._no_address)
        informer.add_index(BY_NODE, lambda body: (body["spec"].get("nodeName") or "",))
        informer.add_handler(self._changed)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._outbox.run(), name="pods")
            group.create_task(self._timers.run(), name="pod timers")
            group.create_task(self.addresses.run(), name="pod addresses")

    @property
    def idle(self) -> bool:
        """Everything that happened to pods so far has been written."""
        return self._outbox.idle and self.addresses.idle

    def next_due(self) -> float | None:
        """The time of the clock at which a pod changes by itself (its image is there, its process ends)."""
        return self._timers.next_due()

    # -- what others ask -----------------------------------------------------------------------------------------

    def by_address(self, address: str) -> SimulatedPod | None:
        return self._by_address.get(address)

    def on_node(self, node: str) -> Iterable[SimulatedPod]:
        return self._by_node[node].values() if node in self._by_node else ()

    def find(self, namespace: str, name: str) -> SimulatedPod | None:
        body = self._informer.get(name, namespace)
        return self._pods.get(uid_of(body)) if body is not None else None

    def living(self, uid: str) -> bool:
        """It is known, and where its containers are."""
        return uid in self._pods

    def addresses_in_use(self) -> Iterable[str]:
        """Of all pods that have a node, ours or not."""
        statuses = ((body["status"], body["spec"]) for body in self._informer.list())
        return [status["podIP"] for status, spec in statuses if status.get("podIP") and not spec.get("hostNetwork")]

    def described(self, pod: SimulatedPod) -> Object:
        """The pod with its status as of now. Of the spec only what the simulation reads is there."""
        status = pod_status(pod.life, self._clock.now(), pod.node.spec.instance.private_ip, pod.address, pod.body)
        return {**pod.body, "status": status}

    def all(self) -> Iterable[SimulatedPod]:
        return self._pods.values()

    # -- nodes come and go ---------------------------------------------------------------------------------------

    def node_up(self, node: SimulatedNode) -> None:
        bodies = self._informer.by_index(BY_NODE, node.name)
        if node.member is None:
            self._open_pool(node, bodies)
        for pod in self.on_node(node.name):
            # It has registered anew, with other properties.
            pod.node = node
        for body in bodies:
            self._changed(None, body)

    def _open_pool(self, node: SimulatedNode, bodies: Iterable[Object]) -> None:
        instance, kind = node.spec.instance, node.spec.kind
        pool = AddressPool(instance.instance_id, instance.subnet_id, kind.interfaces, kind.addresses_per_interface - 1)
        pool.learn(instance.network_interface_id, set())
        # What runs is claimed before anything is handed out anew.
        for body in bodies:
            address = (body.get("status") or {}).get("podIP")
            if address and not body["spec"].get("hostNetwork") and body["status"].get("phase") not in FINISHED:
                pool.claim(uid_of(body), address)
        self.addresses.open(node.name, pool)

    def node_back(self, node: SimulatedNode) -> None:
        """It was silent: now it says what became of its pods."""
        for uid in self._by_node.get(node.name, ()):
            self._outbox.put(uid)

    def fleets_changed(self) -> None:
        """Life cycles are others, or failures of pods have begun or ended."""
        now, told = self._clock.now(), dict[str, bool]()
        for pod in self._pods.values():
            if pod.terminal:
                continue
            fleet = pod.node.facts.fleet if pod.node.facts is not None else ""
            if fleet not in told:
                told[fleet] = self._tells_of_pods(fleet)
            if told[fleet] or pod.life.fault is not NO_POD_FAULT or pod.life.stages is not self._stages:
                self._follow_data(pod, now)

    def _tells_of_pods(self, fleet: str) -> bool:
        """Its data is about pods, and not only about nodes."""
        return bool(self._life_cycles(fleet)) or any(KINDS[item.kind][0] == "pod" for item in self._failures(fleet))

    def _follow_data(self, pod: SimulatedPod, now: float, *, tell: bool = False) -> None:
        """What a fleet and the pod's annotations say of its life, as of now."""
        fault, stages = self._fault(pod.body, pod.node, now), self._stages_of(pod.body, pod.node, tell=tell)
        if fault == pod.life.fault and stages is pod.life.stages:
            return
        if stages is not pod.life.stages:
            pod.life.set_stages(stages, now)
        if fault != pod.life.fault:
            failed = pod.life.failed
            pod.life.set_fault(fault, now)
            if pod.life.failed is not failed:
                self._outbox.put(pod.spec.uid)
        self._wake(pod)

    def _stages_of(self, body: Object, node: SimulatedNode, *, tell: bool = False) -> Stages:
        """`tell` of an annotation that is wrong: when the pod is new, or was changed."""
        facts = node.facts
        rules = self._life_cycles(facts.fleet) if facts is not None else ()
        found = None
        if facts is not None and rules:
            found = stages_of(rules, PodFacts(namespace_of(body), name_of(body), labels_of(body)), facts)
        stages = found or self._stages
        text = (body["metadata"].get("annotations") or {}).get(STAGES_ANNOTATION)
        if text is None:
            return stages
        _, laid_over, mistake = self._annotated_stages(text, stages)
        if mistake and tell:
            self._runtime.events.event(body, "Warning", "InvalidStages", mistake)
        return laid_over

    def _annotated_stages(self, text: str, base: Stages) -> tuple[Stages, Stages, str]:
        known = self._annotated.get((text, id(base)))
        if known is None:
            try:
                known = (base, annotated(text, base), "")
            except InvalidFleet as error:
                known = (base, base, str(error))
            if len(self._annotated) >= ANNOTATIONS_MAX:
                self._annotated.clear()
            self._annotated[text, id(base)] = known
        return known

    def _fault(self, body: Object, node: SimulatedNode, now: float) -> PodFault:
        facts = node.facts
        failures = self._failures(facts.fleet) if facts is not None else ()
        if facts is None or not failures:
            return NO_POD_FAULT
        return pod_fault(failures, PodFacts(namespace_of(body), name_of(body), labels_of(body)), facts, now)

    def node_down(self, node: SimulatedNode) -> None:
        """The instance is gone: its pods answer no more, and nobody is left to say so."""
        for pod in list(self._by_node.pop(node.name, {}).values()):
            self._drop(pod)
        self.addresses.close(node.name)

    # -- pods come and go ----------------------------------------------------------------------------------------

    def _changed(self, old: Object | None, new: Object | None) -> None:
        body = new if new is not None else old
        if body is None or not body["spec"].get("nodeName"):
            return
        pod = self._pods.get(uid_of(body))
        if new is None:
            if pod is not None:
                self._by_node[pod.node.name].pop(pod.spec.uid, None)
                self._drop(pod)
            return
        if pod is None:
            node = self._node(new["spec"]["nodeName"])
            if node is None:
                return
            pod = self._admit(new, node)
        else:
            gates = pod.spec.readiness_gates
            before, pod.body = pod.body, new
            if not is_deleting(new) and not pod.terminal:
                self._edited(pod, before)
            if new["spec"].get("ephemeralContainers") and not pod.terminal:
                pod.life.attach(ephemeral_containers(new), self._clock.now())
                self._wake(pod)
            if gates and old is not None and old.get("status") != new.get("status"):
                self._outbox.put(pod.spec.uid)
        if is_deleting(new):
            self._terminate(pod)

    def _edited(self, pod: SimulatedPod, before: Object) -> None:
        """Somebody may have changed its spec, its labels or our annotations."""
        body, now = pod.body, self._clock.now()
        old, new = before["metadata"], body["metadata"]
        spec_changed = old.get("generation") != new.get("generation")
        if not spec_changed and all(old.get(name) == new.get(name) for name in ("labels", "annotations")):
            return
        pod.spec = pod_spec(body)
        pod.life.respec(pod.spec, now)
        if spec_changed:
            resized = pod.life.pending is not None or resources_of(before) != resources_of(body)
            if resized and self._resize(pod, resources_of(before)) and self._deferred:
                self._retry_deferred(pod.node.name)
            self._outbox.put(pod.spec.uid)
        self._follow_data(pod, now, tell=True)
        self._wake(pod)

    def _resize(self, pod: SimulatedPod, before: dict[str, Resources]) -> bool:
        """True when that leaves more for the node's other pods."""
        life, uid, old = pod.life, pod.spec.uid, pod.requests
        held = life.allocated if life.allocated is not None else before
        others = (other.requests for other in self.on_node(pod.node.name) if not other.terminal and other is not pod)
        short = shortage(pod.body, others, pod.node.allocatable)
        if short is not None:
            life.allocated = held
            life.pending = Pending(short, life.pending.since if life.pending is not None else self._clock.now())
            self._deferred.add(uid)
            return False
        life.pending = None
        self._deferred.discard(uid)
        life.allocated, pod.requests = resources_of(pod.body), kubelet_admission.requests_of(pod.body)
        for container in restarted(pod.body, held):
            life.restart(container, self._clock.now())
        return any(pod.requests.get(name, 0) < old.get(name, 0) for name in RESIZABLE)

    def _retry_deferred(self, node: str) -> None:
        """There may be room now: a pod of the node has gone, is over, or has shrunk."""
        freed = True
        while freed:
            waiting = [self._pods[uid] for uid in self._deferred if uid in self._by_node.get(node, ())]
            freed = False
            for pod in sorted(waiting, key=_turn):
                freed |= self._resize(pod, {})
                self._outbox.put(pod.spec.uid)
                self._wake(pod)

    def _admit(self, body: Object, node: SimulatedNode) -> SimulatedPod:
        spec, now = pod_spec(body, self._replicas), self._clock.now()
        status = body.get("status") or {}
        seen = "startTime" in status
        stages = self._stages_of(body, node, tell=True)
        if seen:
            life = recovered_life(spec, body, stages, self._runtime.random, node.images)
        else:
            life = PodLife(spec, stages, self._runtime.random, node.images, started_at=now)
        life.fault = self._fault(body, node, now)
        pod = SimulatedPod(spec, body, node, life, self._replicas.requests(body))
        pod.terminal = status.get("phase") in FINISHED
        self._pods[spec.uid] = pod
        if not seen and not pod.terminal and not is_deleting(body):
            others = [other for other in self.on_node(node.name) if not other.terminal]
            pod.refused = (
                kubelet_admission.under_pressure(body, spec.qos_class, node.bad_conditions)
                or kubelet_admission.refusal(pod.requests, (other.requests for other in others), node.allocatable)
                or kubelet_admission.port_conflict(body, (other.body for other in others))
            )
        self._by_node[node.name][spec.uid] = pod
        if pod.refused is not None:
            pod.terminal = True
            self._outbox.put(spec.uid)
        elif not pod.terminal:
            self._start(pod, status.get("podIP") or "", fresh=not seen)
        return pod

    def _start(self, pod: SimulatedPod, address: str, *, fresh: bool) -> None:
        if fresh:
            pod.told_by = self._clock.now() + FIRST_STATUS_SECONDS
        if pod.spec.host_network:
            self._has_address(pod, pod.node.spec.instance.private_ip)
        elif address:
            self._claim_address(pod, address)
            self._has_address(pod, address)
        else:
            self._request_address(pod)
        if fresh and not pod.address:
            # Who knows when it comes.
            pod.told_by = None
            self._outbox.put(pod.spec.uid)

    def _claim_address(self, pod: SimulatedPod, address: str) -> None:
        member = pod.node.member
        if member is not None:
            member.addresses.claim(address)
        else:
            self.addresses.claim(pod.node.name, pod.spec.uid, address)

    def _request_address(self, pod: SimulatedPod) -> None:
        """Of the fleet's own range at once, or of the VPC when EC2 has one."""
        member = pod.node.member
        if member is None:
            self.addresses.request(pod.node.name, pod.spec.uid)
        elif (address := member.addresses.take()) is not None:
            self._has_address(pod, address)
        else:
            self._no_address(pod.spec.uid, NO_ADDRESS)
            self._timers.set(pod.spec.uid, self._clock.now() + ADDRESS_RETRY_SECONDS)

    def _assigned(self, uid: str, address: str) -> None:
        pod = self._pods.get(uid)
        if pod is not None and not pod.terminal:
            self._has_address(pod, address)

    def _has_address(self, pod: SimulatedPod, address: str) -> None:
        pod.address = address
        if not pod.spec.host_network:
            self._by_address[address] = pod
        if not pod.life.sandboxed:
            pod.life.begin(self._clock.now())
        self._wake(pod)

    def _no_address(self, uid: str, why: str) -> None:
        pod = self._pods.get(uid)
        if pod is None:
            return
        message = (
            "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "
            f'"{pod.spec.uid.replace("-", "")}": plugin type="aws-cni" name="aws-cni" failed (add): add cmd: {why}'
        )
        self._runtime.events.event(pod.body, "Warning", "FailedCreatePodSandBox", message)

    def _terminate(self, pod: SimulatedPod) -> None:
        grace = pod.body["metadata"].get("deletionGracePeriodSeconds")
        pod.life.terminate(self._clock.now(), pod.spec.grace_seconds if grace is None else float(grace))
        self._wake(pod)
        if pod.life.stopped and not pod.deleted:
            self._outbox.put(pod.spec.uid)

    def _drop(self, pod: SimulatedPod) -> None:
        """Forget it; the caller has taken it off its node."""
        uid = pod.spec.uid
        self._pods.pop(uid, None)
        self._timers.cancel(uid)
        self._deferred.discard(uid)
        self._free_address(pod)
        if self._deferred:
            self._retry_deferred(pod.node.name)
        self._logs.forget(uid, [container.spec.name for container in pod.life.containers])

    def _free_address(self, pod: SimulatedPod) -> None:
        if self._by_address.get(pod.address) is pod:
            del self._by_address[pod.address]
            if pod.node.member is not None:
                pod.node.member.addresses.give_back(pod.address)
        pod.address = ""
        if pod.node.member is None:
            self.addresses.release(pod.node.name, pod.spec.uid)

    # -- time passes ---------------------------------------------------------------------------------------------

    def _timer(self, key: Hashable) -> None:
        pod = self._pods.get(str(key))
        if pod is None:
            return
        if not pod.address and not pod.terminal and not pod.life.terminating and pod.node.member is not None:
            self._request_address(pod)
            return
        now = self._clock.now()
        changed = pod.life.advance(now)
        if pod.told_by is not None:
            changed = now >= pod.told_by or pod.life.phase != "Pending"
        if changed:
            pod.told_by = None
            self._outbox.put(key)
        self._wake(pod)

    def _wake(self, pod: SimulatedPod) -> None:
        self._tell(pod)
        dues = [due for due in (pod.life.next_due(), pod.told_by) if due is not None]
        if dues:
            self._timers.set(pod.spec.uid, min(dues))

    def _tell(self, pod: SimulatedPod) -> None:
        told, logged = pod.life.drain()
        for event in () if pod.node.silent else told:
            self._runtime.events.event(pod.body, event.type, event.reason, event.message)
        for line in logged:
            self._logs.write(pod.spec.uid, line.container, line.at, line.text, line.incarnation)

    async def _write(self, key: Hashable) -> None:
        pod = self._pods.get(str(key))
        if pod is None:
            return
        pod.told_by = None
        if pod.node.silent:
            return
        await self._writer.write(pod)
        if pod.deleted or (pod.terminal and pod.life.stopped):
            self._free_address(pod)
            if self._deferred:
                self._retry_deferred(pod.node.name)


def _turn(pod: SimulatedPod) -> tuple[bool, int, bool, float]:
    since = pod.life.pending.since if pod.life.pending is not None else 0.0
    return turn(pod.body, pod.requests, pod.spec.qos_class, since)
