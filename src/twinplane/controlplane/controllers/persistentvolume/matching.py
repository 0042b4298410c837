"""Which volume suits a claim. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from twinplane.controlplane.controllers.persistentvolume.volumes import (
    access_modes,
    capacity,
    claim_reference,
    class_of,
    is_bound_to,
    requested,
    volume_mode,
)
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import is_deleting, labels_of, name_of
from twinplane.kubeclient.selectors import selector_of


def best_match(claim: Object, volumes: Iterable[Object], *, delayed: bool) -> Object | None:
    """The smallest volume that suits; one that is kept for the claim before all others.

    `delayed` claims wait for their pod: only a volume that is kept for them counts.
    """
    wanted = requested(claim)
    smallest: Object | None = None
    for volume in volumes:
        if is_deleting(volume) or capacity(volume) < wanted or not _has_form(claim, volume):
            continue
        if is_bound_to(volume, claim):
            return volume
        if delayed or claim_reference(volume) is not None or not _is_offered(claim, volume):
            continue
        if smallest is None or (capacity(volume), name_of(volume)) < (capacity(smallest), name_of(smallest)):
            smallest = volume
    return smallest


def _has_form(claim: Object, volume: Object) -> bool:
    attributes = claim["spec"].get("volumeAttributesClassName") or None
    return (
        volume_mode(claim) == volume_mode(volume)
        and access_modes(claim) <= access_modes(volume)
        and attributes == (volume["spec"].get("volumeAttributesClassName") or None)
    )


def _is_offered(claim: Object, volume: Object) -> bool:
    selector = claim["spec"].get("selector")
    if selector is not None and not selector_of(selector).matches(labels_of(volume)):
        return False
    return class_of(claim) == class_of(volume)


def mismatch(claim: Object, volume: Object) -> str:
    """Why a volume that the claim asks for by name cannot be had; empty if it can."""
    if requested(claim) > capacity(volume):
        return "requested PV is too small"
    if class_of(claim) != class_of(volume):
        return "storageClassName does not match"
    attributes = claim["spec"].get("volumeAttributesClassName") or None
    if attributes != (volume["spec"].get("volumeAttributesClassName") or None):
        return "volumeAttributesClassName does not match"
    if volume_mode(claim) != volume_mode(volume):
        return "incompatible volumeMode"
    if not access_modes(claim) <= access_modes(volume):
        return "incompatible accessMode"
    return ""
