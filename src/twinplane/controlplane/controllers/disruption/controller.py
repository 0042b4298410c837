"""The status of PodDisruptionBudgets: how many pods may go now. The eviction subresource decides by it.

How many pods there should be is known of the built-in workloads from the caches, of all others from their scale
subresource.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twinplane.clock import rfc3339
from twinplane.controlplane.controllers.contract import Context, Enqueue, Informer, Key
from twinplane.controlplane.controllers.int_or_percent import scaled
from twinplane.controlplane.controllers.ownership import key_of
from twinplane.controlplane.controllers.pods import is_ready, phase_of
from twinplane.controlplane.controllers.scales import Scales
from twinplane.controlplane.controllers.status import write_status
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.indexes import BY_SELECTOR, selected, selecting, selector_index
from twinplane.kubeclient.meta import (
    conditions_of,
    controller_of,
    is_deleting,
    labels_of,
    name_of,
    namespace_of,
    time_of,
    uid_of,
    with_condition,
)
from twinplane.kubeclient.resources import (
    DEPLOYMENTS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
)
from twinplane.kubeclient.selectors import selector_of

DELETION_TIMEOUT_SECONDS = 120.0
"""An eviction that was allowed and has led to no deletion by then counts no more."""


RETRY_SECONDS = 10.0
"""Until owners that are not known, or have no scale, are looked for again."""
UNMANAGED = (
    "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status of "
    "the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please "
    'set ".spec.minAvailable" field of the PDB to an integer value.'
)


class ScaleUnknownError(Exception):
    """The message is that of the SyncFailed condition."""


class DisruptionController:
    name = "disruption-controller"
    workers = 2

    def __init__(self, context: Context, scales: Scales | None = None) -> None:
        self._client = context.client
        self._scales = scales
        self._clock = context.clock
        self._events = context.events
        self._budgets = context.informers.of(POD_DISRUPTION_BUDGETS)
        self._pods = context.informers.of(PODS)
        self._owners: dict[str, Informer] = {
            resource.kind: context.informers.of(resource)
            for resource in (DEPLOYMENTS, REPLICA_SETS, REPLICATION_CONTROLLERS, STATEFUL_SETS)
        }
        self._budgets.add_index(BY_SELECTOR, lambda budget: selector_index(budget, budget["spec"].get("selector")))

    def watch(self, enqueue: Enqueue) -> None:
        def budget_changed(old: Object | None, new: Object | None) -> None:
            if new is not None:
                enqueue(key_of(new))

        def pod_changed(old: Object | None, new: Object | None) -> None:
            pod = new or old
            assert pod is not None
            if not self._budgets.list(namespace_of(pod)):
                # Every change of a pod comes by, and most namespaces have no budgets.
                return
            if old is not None and new is not None and _relevant(old) == _relevant(new):
                return
            for state in (old, new):
                if state is not None:
                    self._enqueue_budgets(state, enqueue)

        def owner_changed(old: Object | None, new: Object | None) -> None:
            if old is None or new is None or old["spec"].get("replicas") == new["spec"].get("replicas"):
                return
            template = {"metadata": {**new["spec"]["template"]["metadata"], "namespace": namespace_of(new)}}
            self._enqueue_budgets(template, enqueue)

        self._budgets.add_handler(budget_changed)
        self._pods.add_handler(pod_changed)
        for owners in self._owners.values():
            owners.add_handler(owner_changed)

    def _enqueue_budgets(self, pod: Object, enqueue: Enqueue) -> None:
        found = [
            budget
            for budget in selecting(self._budgets, pod)
            if selector_of(budget["spec"].get("selector")).matches(labels_of(pod))
        ]
        for budget in found:
            enqueue(key_of(budget))
        if len(found) > 1 and uid_of(pod):
            of = f'Pod "{namespace_of(pod)}"/"{name_of(pod)}"'
            message = f'{of} matches multiple PodDisruptionBudgets.  Chose "{name_of(found[0])}" arbitrarily.'
            self._events.event(pod, "Warning", "MultiplePodDisruptionBudgets", message)

    async def reconcile(self, key: Key) -> float | None:
        budget = self._budgets.get(key.name, key.namespace)
        if budget is None or is_deleting(budget):
            return None
        pods = selected(self._pods, key.namespace, budget["spec"].get("selector"))
        if not pods:
            self._events.event(budget, "Normal", "NoPods", "No matching pods found")
        now = self._clock.now()
        disrupted, again = _still_disrupted(budget, pods, now)
        healthy = sum(is_ready(pod) and not is_deleting(pod) and name_of(pod) not in disrupted for pod in pods)
        before = budget.get("status") or {}
        try:
            expected, desired = await self._expected(budget, pods)
        except ScaleUnknownError as error:
            condition = _condition("False", "SyncFailed", str(error), budget, now)
            status = {**before, "disruptionsAllowed": 0, "conditions": with_condition(conditions_of(budget), condition)}
            message = f"Failed to calculate the number of expected pods: {error}"
            self._events.event(budget, "Warning", "CalculateExpectedPodCountFailed", message)
            await write_status(self._client, POD_DISRUPTION_BUDGETS, budget, status)
            return min(again or RETRY_SECONDS, RETRY_SECONDS)
        allowed = max(0, healthy - desired) if expected > 0 else 0
        status = {
            "currentHealthy": healthy,
            "desiredHealthy": desired,
            "expectedPods": expected,
            "disruptionsAllowed": allowed,
            "observedGeneration": budget["metadata"].get("generation", 0),
        }
        if disrupted:
            status["disruptedPods"] = disrupted
        verdict = ("True", "SufficientPods") if allowed > 0 else ("False", "InsufficientPods")
        status["conditions"] = with_condition(conditions_of(budget), _condition(*verdict, "", budget, now))
        await write_status(self._client, POD_DISRUPTION_BUDGETS, budget, status)
        return again

    async def _expected(self, budget: Object, pods: Sequence[Object]) -> tuple[int, int]:
        """(pods that should be there, pods that must be healthy)."""
        spec = budget["spec"]
        if spec.get("maxUnavailable") is not None:
            expected = await self._scale_of_owners(budget, pods)
            return expected, max(0, expected - scaled(spec["maxUnavailable"], expected, round_up=True))
        minimum = spec.get("minAvailable", 1)
        if isinstance(minimum, int):
            return len(pods), minimum
        expected = await self._scale_of_owners(budget, pods)
        return expected, scaled(minimum, expected, round_up=True)

    async def _scale_of_owners(self, budget: Object, pods: Sequence[Object]) -> int:
        if any(controller_of(pod) is None for pod in pods):
            message = UNMANAGED.format(_shown(budget["spec"].get("selector")))
            self._events.event(budget, "Warning", "UnmanagedPods", message)
        scales: dict[str, int] = {}
        for pod in pods:
            reference = controller_of(pod)
            if reference is None or reference["uid"] in scales:
                continue
            found = await self._scale(reference, namespace_of(pod))
            if found is None:
                raise ScaleUnknownError(f'found no controllers for pod "{name_of(pod)}"')
            # Also under the uid of the pod's own controller, so that the next pod of it costs nothing.
            scales |= dict.fromkeys({reference["uid"]}, 0)
            scales[found[0]] = found[1]
        return sum(scales.values())

    async def _scale(self, reference: dict[str, Any], namespace: str) -> tuple[str, int] | None:
        """(uid, replicas) of the top controller: a ReplicaSet's Deployment has the number that was asked for."""
        informer = self._owners.get(reference["kind"])
        if informer is None or informer.resource.api_version != reference["apiVersion"]:
            return await self._foreign_scale(reference, namespace)
        owner = informer.get(reference["name"], namespace)
        if owner is None or uid_of(owner) != reference["uid"]:
            return None
        above = controller_of(owner)
        if above is not None and reference["kind"] == REPLICA_SETS.kind:
            return await self._scale(above, namespace)
        return uid_of(owner), int(owner["spec"].get("replicas", 1))

    async def _foreign_scale(self, reference: dict[str, Any], namespace: str) -> tuple[str, int] | None:
        group = reference["apiVersion"].rpartition("/")[0]
        if self._scales is None:
            raise ScaleUnknownError(f"{reference['kind']}.{group} does not implement the scale subresource")
        try:
            _, scale = await self._scales.get(reference["apiVersion"], reference["kind"], namespace, reference["name"])
        except ApiError as error:
            if error.code != 404:
                raise
            try:
                plural = self._scales.resource_of(reference["apiVersion"], reference["kind"]).plural
            except ApiError:
                plural = reference["kind"].lower() + "s"
            text = f"{plural}.{group} does not implement the scale subresource"
            raise ScaleUnknownError(text) from error
        if scale["metadata"].get("uid", reference["uid"]) != reference["uid"]:
            return None
        return reference["uid"], int((scale.get("spec") or {}).get("replicas", 0))


def _shown(selector: Object | None) -> str:
    """As Go prints a LabelSelector."""
    if selector is None:
        return "nil"
    labels = "".join(f"{key}: {value}," for key, value in sorted((selector.get("matchLabels") or {}).items()))
    expressions = "".join(
        f"LabelSelectorRequirement{{Key:{each['key']},Operator:{each['operator']},"
        f"Values:[{' '.join(each.get('values') or [])}],}},"
        for each in selector.get("matchExpressions") or []
    )
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )


def _still_disrupted(budget: Object, pods: Sequence[Object], now: float) -> tuple[dict[str, str], float | None]:
    """Evictions that the API server allowed and that are still on their way, and when the next one runs out."""
    names = {name_of(pod) for pod in pods if not is_deleting(pod)}
    kept: dict[str, str] = {}
    waits = []
    for name, at in ((budget.get("status") or {}).get("disruptedPods") or {}).items():
        left = time_of(at) + DELETION_TIMEOUT_SECONDS - now
        if name in names and left > 0:
            kept[name] = at
            waits.append(left)
    return kept, min(waits, default=None)


def _condition(status: str, reason: str, message: str, budget: Object, now: float) -> dict[str, Any]:
    return {
        "type": "DisruptionAllowed",
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": budget["metadata"].get("generation", 0),
        "lastTransitionTime": rfc3339(now),
    }


def _relevant(pod: Object) -> tuple[Any, ...]:
    return is_ready(pod), phase_of(pod), is_deleting(pod), dict(labels_of(pod)), controller_of(pod)
