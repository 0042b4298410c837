"""Scales what a HorizontalPodAutoscaler points to, every 15 seconds, by what is measured of its pods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twinplane.clock import rfc3339
from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.horizontalpodautoscaler import behavior
from twinplane.controlplane.controllers.horizontalpodautoscaler.behavior import Event, History, Size, Verdict
from twinplane.controlplane.controllers.horizontalpodautoscaler.metrics import MetricsReader
from twinplane.controlplane.controllers.horizontalpodautoscaler.proposals import (
    Measured,
    UnmeasuredError,
    proposal,
)
from twinplane.controlplane.controllers.horizontalpodautoscaler.replicas import Situation
from twinplane.controlplane.controllers.ownership import key_of
from twinplane.controlplane.controllers.scales import Scales
from twinplane.controlplane.controllers.status import write_status
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.indexes import BY_LABEL, by_label
from twinplane.kubeclient.meta import conditions_of, labels_of, with_condition
from twinplane.kubeclient.resources import HORIZONTAL_POD_AUTOSCALERS, PODS
from twinplane.kubeclient.selectors import LabelSelector, SelectorError, parse_label_selector

PERIOD_SECONDS = 15.0
CONFLICT_RETRIES = 5


class _StopError(Exception):
    """Nothing more can be done in this look: `verdict` goes into `condition`, `event` is told."""

    def __init__(self, condition: str, verdict: Verdict, reason: str, message: str) -> None:
        super().__init__(message)
        self.condition = condition
        self.verdict = verdict
        self.reason = reason
        self.message = message


class _Look:
    """One look at one autoscaler: its status, as it grows."""

    def __init__(self, autoscaler: Object, now: float) -> None:
        self.autoscaler = autoscaler
        self.now = now
        self.conditions = conditions_of(autoscaler)
        self.status: dict[str, Any] = dict(autoscaler.get("status") or {})

    def note(self, type: str, verdict: Verdict) -> None:
        condition = {
            "type": type,
            "status": verdict.status,
            "lastTransitionTime": rfc3339(self.now),
            "reason": verdict.reason,
            "message": verdict.message,
        }
        self.conditions = with_condition(self.conditions, condition)


class HorizontalPodAutoscalerController:
    name = "horizontal-pod-autoscaler"
    workers = 5

    def __init__(self, context: Context, scales: Scales, metrics: MetricsReader) -> None:
        self._client = context.client
        self._clock = context.clock
        self._events = context.events
        self._scales = scales
        self._metrics = metrics
        self._autoscalers = context.informers.of(HORIZONTAL_POD_AUTOSCALERS)
        self._pods = context.informers.of(PODS)
        self._pods.add_index(BY_LABEL, by_label)
        self._histories: dict[Key, History] = {}
        self._selectors: dict[Key, LabelSelector] = {}
        self._due: dict[Key, float] = {}
        """When each is looked at next: changes of an autoscaler (its own status, say) do not hasten it."""

    def watch(self, enqueue: Enqueue) -> None:
        def changed(old: Object | None, new: Object | None) -> None:
            body = new or old
            assert body is not None
            key = key_of(body)
            if new is None:
                for memory in (self._histories, self._selectors, self._due):
                    memory.pop(key, None)
            elif old is None or old["spec"] != new["spec"]:
                enqueue(key)

        self._autoscalers.add_handler(changed)

    async def reconcile(self, key: Key) -> float | None:
        autoscaler = self._autoscalers.get(key.name, key.namespace)
        if autoscaler is None:
            return None
        now = self._clock.now()
        due = self._due.get(key, now)
        if due > now:
            return due - now
        self._due[key] = now + PERIOD_SECONDS
        look = _Look(autoscaler, now)
        try:
            await self._scale(key, look)
        except _StopError as stop:
            look.note(stop.condition, stop.verdict)
            self._events.event(autoscaler, "Warning", stop.reason, stop.message)
        look.status["conditions"] = look.conditions
        status = {name: value for name, value in look.status.items() if value is not None}
        try:
            await write_status(self._client, HORIZONTAL_POD_AUTOSCALERS, autoscaler, status)
        except ApiError as error:
            self._events.event(autoscaler, "Warning", "FailedUpdateStatus", error.message)
            if error.code != 409:
                raise
        return PERIOD_SECONDS

    async def _scale(self, key: Key, look: _Look) -> None:
        spec = look.autoscaler["spec"]
        resource, scale = await self._target(key, spec["scaleTargetRef"])
        look.note("AbleToScale", _GOT_SCALE)
        current = int((scale.get("spec") or {}).get("replicas", 0))
        look.status["currentReplicas"] = current
        look.status.setdefault("desiredReplicas", 0)
        history = self._histories.setdefault(key, History())
        if not history.recommendations:
            history.recommendations.append(Event(look.now, current))
        size = Size(current, int(spec.get("minReplicas", 1)), int(spec["maxReplicas"]), look.now)
        desired, reason = current, ""
        look.status["currentMetrics"] = None
        if current == 0:
            look.note("ScalingActive", _DISABLED)
        elif current > size.maximum:
            desired, reason = size.maximum, "Current number of replicas above Spec.MaxReplicas"
        elif current < size.minimum:
            desired, reason = size.minimum, "Current number of replicas below Spec.MinReplicas"
        else:
            best = await self._measure(key, look, scale, current)
            if best.replicas != current:
                reason = "All metrics below target" if best.replicas < current else f"{best.name} above target"
            outcome = behavior.decided(spec, history, size, best.replicas)
            look.note("AbleToScale", outcome.able)
            look.note("ScalingLimited", outcome.limited)
            desired = outcome.replicas
        if desired != current:
            await self._apply(look, resource, scale, desired, reason)
            if spec.get("behavior"):
                history.note_scaling(current, desired, look.now)
            look.status["lastScaleTime"] = rfc3339(look.now)
        look.status["desiredReplicas"] = desired

    async def _target(self, key: Key, reference: dict[str, Any]) -> tuple[Resource, Object]:
        try:
            return await self._scales.get(
                reference.get("apiVersion", ""), reference["kind"], key.namespace, reference["name"]
            )
        except ApiError as error:
            text = f"the HPA controller was unable to get the target's current scale: {error.message}"
            verdict = Verdict("False", "FailedGetScale", text)
            raise _StopError("AbleToScale", verdict, "FailedGetScale", error.message) from error

    async def _measure(self, key: Key, look: _Look, scale: Object, current: int) -> Measured:
        """The metric that asks for the most. Notes in the status what was measured."""
        selector = self._selector(key, scale)
        spec = look.autoscaler["spec"]
        situation = Situation(
            key.namespace,
            str(selector),
            current,
            int((scale.get("status") or {}).get("replicas", 0)),
            self._checked_pods(key, selector),
            behavior.tolerance_of(spec),
            look.now,
        )
        best: Measured | None = None
        failures: list[UnmeasuredError] = []
        metrics = spec.get("metrics") or []
        statuses = look.status["currentMetrics"] = []
        for metric in metrics:
            try:
                found = await proposal(self._metrics, metric, situation)
            except UnmeasuredError as failure:
                failures.append(failure)
                self._events.event(look.autoscaler, "Warning", failure.reason, failure.message)
                statuses.append(_UNMEASURED)
                continue
            statuses.append(found.status)
            if best is None or best.replicas == 0 or found.replicas > best.replicas:
                best = found
        # With a part of the metrics a target may grow, but not shrink: the silent one may be the one that needs it.
        if best is None or (failures and best.replicas < current):
            first = failures[0]
            text = f"the HPA was unable to compute the replica count: {first.message}"
            summary = (
                f"invalid metrics ({len(failures)} invalid out of {len(metrics)}), first error is: {first.summary}"
            )
            verdict = Verdict("False", first.reason, text)
            raise _StopError("ScalingActive", verdict, "FailedComputeMetricsReplicas", summary)
        text = f"the HPA was able to successfully calculate a replica count from {best.name}"
        look.note("ScalingActive", Verdict("True", "ValidMetricFound", text))
        return best

    def _selector(self, key: Key, scale: Object) -> LabelSelector:
        text = (scale.get("status") or {}).get("selector", "")
        if not text:
            verdict = Verdict("False", "InvalidSelector", "the HPA target's scale is missing a selector")
            raise _StopError("ScalingActive", verdict, "SelectorRequired", "selector is required")
        try:
            selector = self._selectors[key] = parse_label_selector(text)
        except SelectorError as error:
            message = f"couldn't convert selector into a corresponding internal selector object: {error}"
            verdict = Verdict("False", "InvalidSelector", message)
            raise _StopError("ScalingActive", verdict, "InvalidSelector", message) from error
        return selector

    def _checked_pods(self, key: Key, selector: LabelSelector) -> Sequence[Object]:
        pods = self._selected(key.namespace, selector)
        rivals = [
            other
            for other, theirs in self._selectors.items()
            if other.namespace == key.namespace and any(theirs.matches(labels_of(pod)) for pod in pods)
        ]
        if len(rivals) > 1:
            names = " ".join(f"{other.namespace}/{other.name}" for other in sorted(rivals))
            message = f"pods by selector {selector} are controlled by multiple HPAs: [{names}]"
            verdict = Verdict("False", "AmbiguousSelector", message)
            raise _StopError("ScalingActive", verdict, "AmbiguousSelector", message)
        return pods

    def _selected(self, namespace: str, selector: LabelSelector) -> list[Object]:
        """Through the index of one label that every selected pod has."""
        exact = next(iter(selector.exact.items()), None)
        if exact is None:
            candidates = self._pods.list(namespace)
        else:
            candidates = self._pods.by_index(BY_LABEL, f"{namespace}/{exact[0]}={exact[1]}")
        return [pod for pod in candidates if selector.matches(labels_of(pod))]

    async def _apply(self, look: _Look, resource: Resource, scale: Object, desired: int, reason: str) -> None:
        try:
            await self._set_scale(look, resource, scale, desired)
        except ApiError as error:
            text = f"the HPA controller was unable to update the target scale: {error.message}"
            message = f"New size: {desired}; reason: {reason}; error: {error.message}"
            verdict = Verdict("False", "FailedUpdateScale", text)
            raise _StopError("AbleToScale", verdict, "FailedRescale", message) from error
        text = f"the HPA controller was able to update the target scale to {desired}"
        look.note("AbleToScale", Verdict("True", "SucceededRescale", text))
        message = f"New size: {desired}; reason: {reason}"
        self._events.event(look.autoscaler, "Normal", "SuccessfulRescale", message)

    async def _set_scale(self, look: _Look, resource: Resource, scale: Object, desired: int) -> None:
        """Somebody else may write to the target at the same time. Raises `ApiError`."""
        reference = look.autoscaler["spec"]["scaleTargetRef"]
        for left in reversed(range(CONFLICT_RETRIES)):
            try:
                await self._scales.set(resource, scale, desired)
            except ApiError as error:
                if error.code != 409 or not left:
                    raise
            else:
                return
            where = (look.autoscaler["metadata"]["namespace"], reference["name"])
            _, scale = await self._scales.get(reference.get("apiVersion", ""), reference["kind"], *where)


_UNMEASURED = {"type": ""}
"""In the place of a metric that failed: upstream keeps the list as long as the specification's."""
_GOT_SCALE = Verdict("True", "SucceededGetScale", "the HPA controller was able to get the target's current scale")
_DISABLED = Verdict("False", "ScalingDisabled", "scaling is disabled since the replica count of the target is zero")
