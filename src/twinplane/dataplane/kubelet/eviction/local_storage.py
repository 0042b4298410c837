"""Pods that use more of the node's disk than they may: emptyDir, pod and container limits. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from twinplane.dataplane.kubelet.eviction.ranking import Candidate
from twinplane.dataplane.kubelet.eviction.thresholds import STORAGE
from twinplane.dataplane.kubelet.pods.spec import is_sidecar
from twinplane.dataplane.kubelet.stats.summary import ephemeral
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.quantity import parse, render


class Excess(NamedTuple):
    signal: str
    """Of the metric kubelet_evictions."""
    message: str


def excess(candidate: Candidate) -> Excess | None:
    if candidate.sample is None:
        return None
    return _empty_dir(candidate) or _pod(candidate) or _container(candidate)


def _empty_dir(candidate: Candidate) -> Excess | None:
    assert candidate.sample is not None
    used = {volume.name: volume.files.used for volume in candidate.sample.disk.volumes}
    for volume in candidate.pod["spec"].get("volumes") or ():
        limit = (volume.get("emptyDir") or {}).get("sizeLimit")
        if limit is not None and 0 < parse(limit) < used.get(volume["name"], 0):
            text = f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{limit}". '
            return Excess("emptydirfs.limit", text)
    return None


def _pod(candidate: Candidate) -> Excess | None:
    assert candidate.sample is not None
    limit = pod_limit(candidate.pod)
    if limit is None or ephemeral(candidate.sample).bytes <= limit:
        return None
    shown = render(limit, "BinarySI")
    text = f"Pod ephemeral local storage usage exceeds the total limit of containers {shown}. "
    return Excess("ephemeralpodfs.limit", text)


def pod_limit(pod: Object) -> int | None:
    """None when nothing of the pod is limited."""
    spec = pod["spec"]
    main = [found for item in spec.get("containers") or () if (found := _limit(item)) is not None]
    init = [
        (found, is_sidecar(item)) for item in spec.get("initContainers") or () if (found := _limit(item)) is not None
    ]
    if not main and not init:
        return None
    sidecars = sum(found for found, sidecar in init if sidecar)
    return max([sum(main) + sidecars, *(found for found, sidecar in init if not sidecar)])


def _container(candidate: Candidate) -> Excess | None:
    assert candidate.sample is not None
    limits = {item["name"]: _limit(item) for item in candidate.pod["spec"].get("containers") or ()}
    for sample in candidate.sample.containers:
        limit = limits.get(sample.name)
        if limit and sample.layer.bytes + sample.log.bytes > limit:
            shown = render(limit, "BinarySI")
            text = f'Container {sample.name} exceeded its local ephemeral storage limit "{shown}". '
            return Excess("ephemeralcontainerfs.limit", text)
    return None


def _limit(container: Mapping[str, Any]) -> int | None:
    found = ((container.get("resources") or {}).get("limits") or {}).get(STORAGE)
    return int(parse(found)) if found is not None else None
