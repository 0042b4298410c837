"""Deletes pods whose devices have NoExecute taints that their claims do not tolerate, or not any longer.

As upstream it looks at the claims that a pod names, not at the one made for its extended resources. DeviceTaintRules
are followed where the API has them (Kubernetes 1.37; in 1.36 only a beta version has, which is off by default).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twinplane.clock import rfc3339
from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.devicetainteviction.rules import (
    EVICTION_IN_PROGRESS,
    NO_EFFECT,
    Counts,
    condition,
)
from twinplane.controlplane.controllers.devicetainteviction.taints import (
    NO_EXECUTE,
    DeviceTaints,
    Eviction,
    generation_of,
    pool_of,
    selects,
    tainted,
)
from twinplane.controlplane.controllers.ownership import key_of
from twinplane.controlplane.controllers.resourceclaim.claims import entries_of, statuses_of
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.device_claims import DeviceId, consumers_of, device_of, results_of
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import (
    condition_of,
    is_controlled_by,
    is_deleting,
    name_of,
    namespace_of,
    time_of,
    uid_of,
)
from twinplane.kubeclient.resources import DEVICE_TAINT_RULES, PODS, RESOURCE_CLAIMS, RESOURCE_SLICES

RULE_STATUS_SECONDS = 10.0
"""Between two writes of a rule's status."""
_BY_DEVICE = "device"


class DeviceTaintEvictionController:
    name = "device-taint-eviction-controller"
    workers = 8

    def __init__(self, context: Context, *, with_rules: bool = False) -> None:
        """`with_rules`: the API has DeviceTaintRules."""
        self._client = context.client
        self._clock = context.clock
        self._events = context.events
        self._pods = context.informers.of(PODS)
        self._claims = context.informers.of(RESOURCE_CLAIMS)
        self._slices = context.informers.of(RESOURCE_SLICES)
        self._rules = context.informers.of(DEVICE_TAINT_RULES) if with_rules else None
        self._taints = DeviceTaints(self._slices, self._rules)
        self._claims.add_index(_BY_DEVICE, lambda claim: {"/".join(device_of(entry)) for entry in results_of(claim)})
        self._expected: dict[str, frozenset[str]] = {}
        """uids of pods whose time runs -> uids of the rules that have to do with it."""
        self._evicted: dict[str, int] = {}
        """By uid of a rule: pods, since the start."""
        self._not_before: dict[str, float] = {}
        """By uid of a rule whose pods change: when its status is written. Until then more pods may have changed, and
        the informers have brought what was done.
        """

    # What happens -----------------------------------------------------------------------------------------------

    def watch(self, enqueue: Enqueue) -> None:
        self._enqueue = enqueue
        self._pods.add_handler(self._pod_changed)
        self._claims.add_handler(self._claim_changed)
        self._slices.add_handler(self._slice_changed)
        if self._rules is not None:
            self._rules.add_handler(self._rule_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            if old is not None and self._expected:
                self._expected.pop(uid_of(old), None)
            return
        spec = new["spec"]
        if not spec.get("resourceClaims") or not spec.get("nodeName"):
            return
        if old is None or _relevant(old) != _relevant(new):
            self._enqueue(key_of(new))

    def _claim_changed(self, old: Object | None, new: Object | None) -> None:
        concerned = new is not None and self._taints.eviction(new) is not None
        for claim in (old, new):
            for name, uid in consumers_of(claim):
                if concerned or uid in self._expected:
                    self._enqueue(Key(namespace_of(claim or {}), name))

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        devices = tainted(old) | tainted(new)
        bodies = [body for body in (old, new) if body is not None]
        if len({(pool_of(body), generation_of(body)) for body in bodies}) > 1 or len(bodies) == 1:
            # Other slices of the pool may have become outdated, or valid again.
            devices |= {device for body in bodies for device in self._taints.tainted_in(pool_of(body))}
        for device in devices:
            self._consider(self._claims.by_index(_BY_DEVICE, "/".join(device)))

    def _rule_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            for known in (self._evicted, self._not_before):
                known.pop(uid_of(old or {"metadata": {}}), None)
        elif old is not None and uid_of(old) == uid_of(new) and old["spec"] == new["spec"]:
            return
        else:
            self._not_before.pop(uid_of(new), None)
            self._enqueue(Key("", name_of(new), DEVICE_TAINT_RULES.kind))
        evicting = [rule for rule in (old, new) if rule is not None and rule["spec"]["taint"]["effect"] == NO_EXECUTE]
        if evicting:
            self._consider(
                claim
                for claim in self._claims.list()
                if any(selects(rule, device) for rule in evicting for device in _devices(claim))
            )

    def _consider(self, claims: Iterable[Object]) -> None:
        for claim in claims:
            for name, _ in consumers_of(claim):
                self._enqueue(Key(namespace_of(claim), name))

    # What is done about it --------------------------------------------------------------------------------------

    async def reconcile(self, key: Key) -> float | None:
        if key.kind == DEVICE_TAINT_RULES.kind:
            return await self._tell_rule(key.name)
        pod = self._pods.get(key.name, key.namespace)
        if pod is None or is_deleting(pod):
            return None
        eviction, uid = self._eviction(pod), uid_of(pod)
        if eviction is None:
            if self._expected.pop(uid, None) is not None:
                self._events.event(pod, "Normal", "DeviceTaintManagerEviction", "Cancelling deletion")
            return None
        now = self._clock.now()
        if self._expected.get(uid) != eviction.rules:
            self._expected[uid] = eviction.rules
            self._tell_rules(eviction.rules)
        if eviction.when > now:
            return eviction.when - now
        await self._evict(pod, now)
        if self._expected.pop(uid, None) is not None:
            for rule in eviction.rules:
                self._evicted[rule] = self._evicted.get(rule, 0) + 1
            self._tell_rules(eviction.rules)
        return None

    def _eviction(self, pod: Object, *, simulated: Object | None = None) -> Eviction | None:
        if not pod["spec"].get("nodeName"):
            return None
        found: Eviction | None = None
        made = statuses_of(pod)
        for entry in entries_of(pod):
            name = entry.get("resourceClaimName") or made.get(entry["name"])
            claim = self._claims.get(name, namespace_of(pod)) if name else None
            if claim is None or all(uid != uid_of(pod) for _, uid in consumers_of(claim)):
                continue
            if not entry.get("resourceClaimName") and not is_controlled_by(claim, pod):
                continue
            eviction = self._taints.eviction(claim, simulated=simulated)
            found = eviction.joined(found) if eviction is not None else found
        return found

    async def _evict(self, pod: Object, now: float) -> None:
        self._events.event(pod, "Normal", "DeviceTaintManagerEviction", "Marking for deletion")
        new = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByDeviceTaintManager",
            "message": "Device Taint manager: deleting due to NoExecute taint",
        }
        old = condition_of(pod, new["type"]) or {}
        try:
            if {field: old.get(field) for field in new} != new:
                since = old.get("lastTransitionTime") if old.get("status") == "True" else None
                status = {"conditions": [{**new, "lastTransitionTime": since or rfc3339(now)}]}
                await self._client.patch(
                    PODS,
                    name_of(pod),
                    {"metadata": {"uid": uid_of(pod)}, "status": status},
                    namespace_of(pod),
                    subresource="status",
                    patch_type="application/strategic-merge-patch+json",
                )
            await self._client.delete(PODS, name_of(pod), namespace_of(pod), uid=uid_of(pod))
        except ApiError as error:
            if error.code != 404:
                raise

    # The status of rules ----------------------------------------------------------------------------------------

    def _tell_rules(self, uids: frozenset[str]) -> None:
        for rule in self._rules.list() if self._rules is not None and uids else ():
            if uid_of(rule) in uids:
                self._not_before.setdefault(uid_of(rule), self._clock.now() + RULE_STATUS_SECONDS)
                self._enqueue(Key("", name_of(rule), DEVICE_TAINT_RULES.kind))

    async def _tell_rule(self, name: str) -> float | None:
        rule = self._rules.get(name) if self._rules is not None else None
        if rule is None:
            return None
        now = self._clock.now()
        old = condition_of(rule, EVICTION_IN_PROGRESS) or {}
        due = self._not_before.get(uid_of(rule), now)
        if old.get("observedGeneration") == (rule["metadata"].get("generation") or 0):
            due = max(due, time_of(old.get("lastTransitionTime")) + RULE_STATUS_SECONDS)
        if due > now:
            return due - now
        self._not_before.pop(uid_of(rule), None)
        new = condition(rule, self._counts(rule))
        if {field: old.get(field) for field in new} != new:
            conditions = [{**new, "lastTransitionTime": rfc3339(now)}]
            patch: dict[str, Any] = {"metadata": {"uid": uid_of(rule)}, "status": {"conditions": conditions}}
            await self._client.patch(DEVICE_TAINT_RULES, name, patch, subresource="status")
        return None

    def _counts(self, rule: Object) -> Counts:
        """Of a rule without effect: as if it had one."""
        effect, uid = rule["spec"]["taint"]["effect"], uid_of(rule)
        evicted = self._evicted.get(uid, 0)
        if effect not in (NO_EXECUTE, NO_EFFECT):
            return Counts(evicted=evicted)
        claims = [claim for claim in self._claims.list() if any(selects(rule, device) for device in _devices(claim))]
        pods = {
            (namespace_of(pod), name_of(pod))
            for claim in claims
            for name, _ in consumers_of(claim)
            if (pod := self._pods.get(name, namespace_of(claim))) is not None and not is_deleting(pod)
            if (eviction := self._eviction(pod, simulated=rule)) is not None and uid in eviction.rules
        }
        counts = Counts(len(pods), len({namespace for namespace, _ in pods}), evicted=evicted)
        if effect == NO_EXECUTE:
            return counts
        selected = sum(selects(rule, device) for claim in claims for device in _devices(claim))
        return counts._replace(published=self._taints.count_selected(rule), allocated=selected)


def _devices(claim: Object) -> list[DeviceId]:
    return [device_of(result) for result in results_of(claim)]


def _relevant(pod: Object) -> tuple[object, object]:
    return pod["spec"].get("nodeName"), (pod.get("status") or {}).get("resourceClaimStatuses")
