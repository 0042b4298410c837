"""Between the served versions of one stored type: core/v1 and events.k8s.io/v1 Event, autoscaling v1 and v2.

The API server converts on the way in (to the stored version) and out. All other built-in groups serve one version, so
there is nothing else; custom resources convert through their definition. Results share the parts that did not change.
"""

from __future__ import annotations

from collections.abc import Callable

from twinplane.controlplane.api.types import autoscaling
from twinplane.kubeclient.contract import Object, Resource

_CORE_TO_EVENTS = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_EVENTS_TO_CORE = {new: old for old, new in _CORE_TO_EVENTS.items()}


def _renamed(names: dict[str, str]) -> Callable[[Object], Object]:
    def convert(body: Object) -> Object:
        return {names.get(key, key): value for key, value in body.items()}

    return convert


CONVERSIONS: dict[tuple[str, str, str], Callable[[Object], Object]] = {
    ("v1", "events.k8s.io/v1", "Event"): _renamed(_CORE_TO_EVENTS),
    ("events.k8s.io/v1", "v1", "Event"): _renamed(_EVENTS_TO_CORE),
    ("autoscaling/v1", "autoscaling/v2", "HorizontalPodAutoscaler"): autoscaling.to_v2,
    ("autoscaling/v2", "autoscaling/v1", "HorizontalPodAutoscaler"): autoscaling.to_v1,
}


def convert(body: Object, source: Resource, target: Resource) -> Object:
    """The same object where versions agree; otherwise a new one with `apiVersion` of the target."""
    if (source.group, source.version) == (target.group, target.version):
        return body
    change = CONVERSIONS.get((source.api_version, target.api_version, source.kind))
    result = change(body) if change else dict(body)
    result["apiVersion"] = target.api_version
    return result
