"""Consumption in the kubelet's three formats. Pure. Names, labels and units are upstream's:

- `/metrics/resource`: kubelet `resource_metrics.go` (what metrics-server reads);
- `/metrics/cadvisor`: cAdvisor `metrics/prometheus.go` with the kubelet's labels (container, pod, namespace, image);
- `/stats/summary`: kubelet `stats/v1alpha1`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twinplane.clock import rfc3339
from twinplane.dataplane.exposition import Family, Sample, labelled, render
from twinplane.dataplane.simulation.pod_status import full_image
from twinplane.dataplane.simulation.usage.consumption import ContainerUsage, NodeUsage, PodUsage
from twinplane.dataplane.simulation.usage.models import Usage
from twinplane.kubeclient.quantity import parse

RSS_SHARE = 0.8
"""Of the working set; the rest is active page cache."""
CACHE_SHARE = 0.3
"""Page cache beside the resident memory, as a share of the working set."""


# -- /metrics/resource -----------------------------------------------------------------------------------------------


def resource_metrics(found: NodeUsage, now: float) -> str:
    containers = [(_container_labels(pod, item), item) for pod in found.pods for item in pod.containers]
    pods = [(_pod_labels(pod), pod.total) for pod in found.pods if pod.containers]
    stable = "[STABLE] "
    families = [
        Family(
            "container_cpu_usage_seconds_total",
            f"{stable}Cumulative cpu time consumed by the container in core-seconds",
            "counter",
            [Sample(labels, item.usage.cpu_seconds, now) for labels, item in containers],
        ),
        Family(
            "container_memory_working_set_bytes",
            f"{stable}Current working set of the container in bytes",
            "gauge",
            [Sample(labels, int(item.usage.memory_bytes), now) for labels, item in containers],
        ),
        Family(
            "container_start_time_seconds",
            f"{stable}Start time of the container since unix epoch in seconds",
            "gauge",
            [Sample(labels, item.began) for labels, item in containers],
        ),
        Family(
            "node_cpu_usage_seconds_total",
            f"{stable}Cumulative cpu time consumed by the node in core-seconds",
            "counter",
            [Sample("", found.usage.cpu_seconds, now)],
        ),
        Family(
            "node_memory_working_set_bytes",
            f"{stable}Current working set of the node in bytes",
            "gauge",
            [Sample("", int(found.usage.memory_bytes), now)],
        ),
        Family(
            "pod_cpu_usage_seconds_total",
            f"{stable}Cumulative cpu time consumed by the pod in core-seconds",
            "counter",
            [Sample(labels, total.cpu_seconds, now) for labels, total in pods],
        ),
        Family(
            "pod_memory_working_set_bytes",
            f"{stable}Current working set of the pod in bytes",
            "gauge",
            [Sample(labels, int(total.memory_bytes), now) for labels, total in pods],
        ),
        Family(
            "resource_scrape_error",
            f"{stable}1 if there was an error while getting container metrics, 0 otherwise",
            "gauge",
            [Sample("", 0)],
        ),
    ]
    return render(family for family in families if family.samples)


def _pod_labels(pod: PodUsage) -> str:
    return labelled(namespace=pod.pod.spec.namespace, pod=pod.pod.spec.name)


def _container_labels(pod: PodUsage, item: ContainerUsage) -> str:
    return labelled(container=item.name, namespace=pod.pod.spec.namespace, pod=pod.pod.spec.name)


# -- /metrics/cadvisor -----------------------------------------------------------------------------------------------

Value = Callable[[Usage], float]
CONTAINER_SERIES: tuple[tuple[str, str, str, dict[str, str], Value], ...] = (
    (
        "container_cpu_usage_seconds_total",
        "Cumulative cpu time consumed in seconds.",
        "counter",
        {"cpu": "total"},
        lambda usage: usage.cpu_seconds,
    ),
    ("container_memory_cache", "Number of bytes of page cache memory.", "gauge", {}, lambda u: _part(u, CACHE_SHARE)),
    ("container_memory_rss", "Size of RSS in bytes.", "gauge", {}, lambda u: _part(u, RSS_SHARE)),
    (
        "container_memory_usage_bytes",
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        "gauge",
        {},
        lambda u: _part(u, RSS_SHARE + CACHE_SHARE),
    ),
    ("container_memory_working_set_bytes", "Current working set in bytes.", "gauge", {}, lambda u: _part(u, 1.0)),
)
"""(name, help, type, further labels, value)"""


def _part(usage: Usage, share: float) -> float:
    return int(usage.memory_bytes * share)


def cadvisor_metrics(found: NodeUsage, now: float) -> str:
    """Per container, per pod (`container=""`) and for the whole machine (`id="/"`), as cAdvisor's cgroups are."""
    groups: list[tuple[dict[str, str], Usage]] = [(_cgroup("/"), found.usage)]
    limits: list[Sample] = []
    started: list[Sample] = []
    for pod in found.pods:
        spec = pod.pod.spec
        slice_ = f"/kubepods.slice/kubepods-pod{spec.uid.replace('-', '_')}.slice"
        names = {"namespace": spec.namespace, "pod": spec.name}
        groups.append((_cgroup(slice_, **names), pod.total))
        for life, item in _with_lives(pod):
            short = life.container_id.rpartition("//")[2]
            labels = _cgroup(
                f"{slice_}/cri-containerd-{short}.scope",
                container=item.name,
                image=full_image(life.spec.image),
                name=short,
                **names,
            )
            groups.append((labels, item.usage))
            limits.append(Sample(labelled(**labels), int(item.memory_limit)))
            started.append(Sample(labelled(**labels), item.began))
    families = [
        Family(name, text, kind, [Sample(labelled(**labels, **more), value(used), now) for labels, used in groups])
        for name, text, kind, more, value in CONTAINER_SERIES
    ]
    families += [
        Family("container_spec_memory_limit_bytes", "Memory limit for the container.", "gauge", limits),
        Family(
            "container_start_time_seconds", "Start time of the container since unix epoch in seconds.", "gauge", started
        ),
        *_machine(found),
    ]
    return render(family for family in families if family.samples)


def _cgroup(id: str, **given: str) -> dict[str, str]:
    return {"container": "", "id": id, "image": "", "name": "", "namespace": "", "pod": "", **given}


def _with_lives(pod: PodUsage) -> list[tuple[Any, ContainerUsage]]:
    lives = {life.spec.name: life for life in pod.pod.life.containers}
    return [(lives[item.name], item) for item in pod.containers]


def _machine(found: NodeUsage) -> list[Family]:
    kind = found.node.spec.kind
    return [
        Family("machine_cpu_cores", "Number of logical CPU cores.", "gauge", [Sample("", kind.vcpus)]),
        Family("machine_memory_bytes", "Amount of memory installed on the machine.", "gauge", [_memory(found)]),
    ]


def _memory(found: NodeUsage) -> Sample:
    return Sample("", found.node.spec.kind.memory_mib * 1024**2)


# -- /stats/summary --------------------------------------------------------------------------------------------------


def summary(found: NodeUsage, now: float) -> dict[str, Any]:
    node = found.node
    available = float(parse(node.allocatable.get("memory", "0")))
    return {
        "node": {
            "nodeName": node.name,
            "startTime": rfc3339(node.since),
            "cpu": _cpu(found.usage, now),
            "memory": {**_memory_stats(found.usage, now), "availableBytes": max(0, int(available - _ws(found.usage)))},
        },
        "pods": [_pod_stats(pod, now) for pod in found.pods],
    }


def _pod_stats(pod: PodUsage, now: float) -> dict[str, Any]:
    spec = pod.pod.spec
    return {
        "podRef": {"name": spec.name, "namespace": spec.namespace, "uid": spec.uid},
        "startTime": rfc3339(pod.pod.life.started_at),
        "containers": [
            {
                "name": item.name,
                "startTime": rfc3339(item.began),
                "cpu": _cpu(item.usage, now),
                "memory": _memory_stats(item.usage, now),
            }
            for item in pod.containers
        ],
        "cpu": _cpu(pod.total, now),
        "memory": _memory_stats(pod.total, now),
    }


def _cpu(usage: Usage, now: float) -> dict[str, Any]:
    return {
        "time": rfc3339(now),
        "usageNanoCores": int(usage.cpu_cores * 1e9),
        "usageCoreNanoSeconds": int(usage.cpu_seconds * 1e9),
    }


def _memory_stats(usage: Usage, now: float) -> dict[str, Any]:
    return {
        "time": rfc3339(now),
        "usageBytes": _part(usage, RSS_SHARE + CACHE_SHARE),
        "workingSetBytes": _ws(usage),
        "rssBytes": _part(usage, RSS_SHARE),
        "pageFaults": 0,
        "majorPageFaults": 0,
    }


def _ws(usage: Usage) -> int:
    return int(usage.memory_bytes)
