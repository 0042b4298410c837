"""`/metrics/resource`: what metrics-server reads (kubelet `metrics/collectors/resource_metrics.go`). Pure."""

from __future__ import annotations

from collections.abc import Iterator

from twinplane.dataplane.exposition import Family, Sample, labelled, render
from twinplane.dataplane.kubelet.stats.sampling import NodeSample

STABLE, ALPHA = "[STABLE] ", "[ALPHA] "
NANOSECONDS = 1e9


def resource_metrics(sample: NodeSample) -> str:
    return render(family for family in _families(sample) if family.samples)


def _families(sample: NodeSample) -> Iterator[Family]:
    containers = [
        (labelled(container=item.name, namespace=pod.namespace, pod=pod.name), item)
        for pod in sample.pods
        for item in pod.containers
    ]
    pods = [(labelled(namespace=pod.namespace, pod=pod.name), pod.group) for pod in sample.pods]
    running = [(labels, item.group) for labels, item in containers]
    node = [("", sample.node)]
    for level, groups in (("container", running), ("node", node), ("pod", pods)):
        yield Family(
            f"{level}_cpu_usage_seconds_total",
            f"{STABLE}Cumulative cpu time consumed by the {level} in core-seconds",
            "counter",
            [Sample(labels, group.usage.cpu / NANOSECONDS, group.at) for labels, group in groups],
        )
        yield Family(
            f"{level}_memory_working_set_bytes",
            f"{STABLE}Current working set of the {level} in bytes",
            "gauge",
            [Sample(labels, group.usage.working_set, group.at) for labels, group in groups],
        )
        of = "of the node" if level == "node" else f"amount of the {level}"
        text = f"Current swap usage {of} in bytes" if level == "node" else f"Current {of} swap usage in bytes"
        yield Family(
            f"{level}_swap_usage_bytes",
            f"{ALPHA}{text}. Reported only on non-windows systems",
            "gauge",
            [Sample(labels, group.usage.swap, group.at) for labels, group in groups],
        )
    yield Family(
        "container_swap_limit_bytes",
        f"{ALPHA}Current amount of the container swap limit in bytes. Reported only on non-windows systems",
        "gauge",
        [Sample(labels, group.usage.swap, group.at) for labels, group in running],
    )
    yield Family(
        "container_start_time_seconds",
        f"{STABLE}Start time of the container since unix epoch in seconds",
        "gauge",
        [Sample(labels, item.started) for labels, item in containers],
    )
    yield Family(
        "resource_scrape_error",
        f"{STABLE}1 if there was an error while getting container metrics, 0 otherwise",
        "gauge",
        [Sample("", 0)],
    )
