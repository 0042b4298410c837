"""Extended resources that a DeviceClass backs: the requests for devices that a pod's containers come to.

A resource that a node does not have itself is asked of the class, with one request for each container. Containers that
run before others (init containers which end) may use the devices of those that come later, and each other's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from twinplane.controlplane.scheduler.resources import ExtendedUse


class ExtendedPlan(NamedTuple):
    """What the claim for a pod's extended resources asks for, and which container each request is for."""

    requests: Sequence[Mapping[str, Any]]
    """`spec.devices.requests`."""
    mappings: Sequence[Mapping[str, str]]
    """`requestMappings` of the pod's status."""


def extended_plan(uses: Iterable[ExtendedUse], classes: Mapping[str, str]) -> ExtendedPlan:
    """`classes`: resources that are to come from devices, with the name of the class."""
    requests: list[dict[str, Any]] = []
    mappings: list[dict[str, str]] = []
    for resource, device_class in sorted(classes.items()):
        own = [use for use in uses if use.resource == resource]
        lasting = [use for use in own if not use.passing]
        mappings += [_mapping(use, use.request) for use in lasting]
        counts = {use.request: use.amount for use in lasting}
        found, peak = _passing(own, lasting)
        mappings += found
        if peak is not None:
            counts[peak[0]] = peak[1]
        requests += [_request(name, device_class, count) for name, count in counts.items()]
    return ExtendedPlan(sorted(requests, key=lambda request: str(request["name"])), mappings)


def _passing(
    uses: Sequence[ExtendedUse], lasting: Sequence[ExtendedUse]
) -> tuple[list[dict[str, str]], tuple[str, int] | None]:
    """What containers that end use, and the one request of their own: of the one that wants the most besides."""
    mappings: list[dict[str, str]] = []
    more: dict[str, int] = {}
    for use in uses:
        if not use.passing:
            continue
        there = 0
        for later in lasting:
            if later.place >= use.place and there < use.amount:
                there += later.amount
                mappings.append(_mapping(use, later.request))
        if there < use.amount:
            more[use.request] = use.amount - there
            mappings.append(_mapping(use, use.request))
    if not more:
        return mappings, None
    peak = max(more, key=lambda name: more[name])
    renamed = [{**entry, "requestName": peak} if entry["requestName"] in more else entry for entry in mappings]
    return renamed, (peak, more[peak])


def _mapping(use: ExtendedUse, request: str) -> dict[str, str]:
    return {"containerName": use.container, "resourceName": use.resource, "requestName": request}


def _request(name: str, device_class: str, count: int) -> dict[str, Any]:
    exactly = {"deviceClassName": device_class, "allocationMode": "ExactCount", "count": count}
    return {"name": name, "exactly": exactly}
