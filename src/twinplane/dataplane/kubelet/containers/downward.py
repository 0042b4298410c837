"""What a pod is told about itself through environment variables. Pure. Source: kubelet `podFieldSelectorRuntimeValue`,
`api/v1/resource.ExtractContainerResourceValue`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from twinplane.dataplane.kubelet.containers.errors import config_error
from twinplane.dataplane.kubelet.pods.spec import Container
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import annotations_of, labels_of
from twinplane.kubeclient.quantity import milli, parse

_subscript = re.compile(r"(metadata\.(?:labels|annotations))\['(.*)'\]").fullmatch
RESOURCES = ("cpu", "memory", "ephemeral-storage")


def field_value(pod: Object, path: str, pod_ips: Sequence[str], host_ips: Sequence[str]) -> str:
    """Raises `ContainerRefused` for a path that is none."""
    metadata, spec = pod["metadata"], pod["spec"]
    keyed = _subscript(path)
    if keyed:
        values = labels_of(pod) if keyed[1] == "metadata.labels" else annotations_of(pod)
        return values.get(keyed[2], "")
    known = {
        "metadata.name": metadata.get("name", ""),
        "metadata.namespace": metadata.get("namespace", ""),
        "metadata.uid": metadata.get("uid", ""),
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.hostIP": host_ips[0] if host_ips else "",
        "status.hostIPs": ",".join(host_ips),
        "status.podIP": pod_ips[0] if pod_ips else "",
        "status.podIPs": ",".join(pod_ips),
    }
    if path not in known:
        raise config_error(f"unsupported fieldPath: {path}")
    return str(known[path])


def resource_value(container: Container, resource: str, divisor: str, allocatable: Mapping[str, Any]) -> str:
    """A limit that is not set is what the node has. Rounded up. Raises `ContainerRefused`."""
    kind, _, name = resource.partition(".")
    resources = container.get("resources") or {}
    requested, limited = resources.get("requests") or {}, resources.get("limits") or {}
    if kind not in ("limits", "requests") or not (name in RESOURCES or name.startswith("hugepages-")):
        raise config_error(f"unsupported container resource : {resource}")
    found = limited.get(name) if kind == "limits" else requested.get(name, limited.get(name))
    if found is None and kind == "limits":
        found = allocatable.get(name)
    unit = divisor if divisor not in ("", "0") else "1"
    if name == "cpu":
        return str(-(-milli(found or "0") // milli(unit)))
    value, each = parse(found or "0"), parse(unit)
    return str(int(-(-value // each)))
