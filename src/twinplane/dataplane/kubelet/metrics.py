"""The kubelet's own metrics: what its parts count, under upstream's names (`pkg/kubelet/metrics/metrics.go`).

One `KubeletMetrics` for an agent, handed to the parts that count; the server renders it. Calls of the runtime are
counted by `measured`, wrapped around any `Runtime`, so that no caller has to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from twinplane.dataplane.exposition import DEFAULT_BUCKETS, Counter, Histogram, Registry
from twinplane.dataplane.runtime.contract import Runtime, RuntimeFailure
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import name_of, namespace_of, uid_of

POD_START_BUCKETS = (
    0.5,
    1,
    2,
    3,
    4,
    5,
    6,
    8,
    10,
    20,
    30,
    45,
    60,
    120,
    180,
    240,
    300,
    360,
    480,
    600,
    900,
    1200,
    1800,
    2700,
    3600,
)
OPERATION_BUCKETS = tuple(0.005 * 2.5**step for step in range(14))
IMAGE_PULL_BUCKETS = (1, 5, 10, 20, 30, 60, 180, 300, 600, 900, 1200, 1800, 2700, 3600)
HTTP_LABELS = ("long_running", "method", "path", "server_type")
PROBE_RESULTS = {"success": "successful", "failure": "failed"}
PROBE_LABELS = ("container", "namespace", "pod", "pod_uid", "probe_type", "result")
ALPHA = "[ALPHA] "

OPERATIONS = {
    "list_pod_sandboxes": "list_podsandbox",
    "run_pod_sandbox": "run_podsandbox",
    "stop_pod_sandbox": "stop_podsandbox",
    "remove_pod_sandbox": "remove_podsandbox",
    "pod_sandbox_status": "podsandbox_status",
    "list_pod_sandbox_stats": "list_podsandbox_stats",
    "pod_sandbox_stats": "podsandbox_stats",
    "image_status": "image_status",
    "remove_image": "remove_image",
    "update_container_resources": "update_container",
}
"""Upstream's names of operations where they are not the method's own."""


class KubeletMetrics:
    """Attributes are the metrics; `registry` is /metrics, `probes` is /metrics/probes."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.probes = Registry()
        self._of_node()
        self._of_pods()
        self._of_loops()
        self._of_runtime()
        self._of_server()
        self._of_probes()

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return self.registry.add(Counter(f"kubelet_{name}", ALPHA + help, labels))

    def _gauge(self, name: str, help: str, *labels: str) -> Counter:
        return self.registry.add(Counter(f"kubelet_{name}", ALPHA + help, labels, kind="gauge"))

    def _histogram(self, name: str, help: str, *labels: str, buckets: tuple[float, ...] = DEFAULT_BUCKETS) -> Histogram:
        return self.registry.add(Histogram(f"kubelet_{name}", ALPHA + help, labels, buckets=buckets))

    def _of_node(self) -> None:
        self.node_name = self._gauge("node_name", "The node's name. The count is always 1.", "node")
        self.running_pods = self._gauge("running_pods", "Number of pods that have a running pod sandbox")
        self.running_containers = self._gauge(
            "running_containers", "Number of containers currently running", "container_state"
        )
        self.desired_pods = self._gauge(
            "desired_pods",
            "The number of pods the kubelet is being instructed to run. static is true if the pod is not from the "
            "apiserver.",
            "static",
        )
        self.active_pods = self._gauge(
            "active_pods",
            "The number of pods the kubelet considers active and which are being considered when admitting new pods. "
            "static is true if the pod is not from the apiserver.",
            "static",
        )

    def _of_pods(self) -> None:
        self.pod_start = self._histogram(
            "pod_start_duration_seconds",
            "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run",
            buckets=POD_START_BUCKETS,
        )
        self.pod_start_sli = self._histogram(
            "pod_start_sli_duration_seconds",
            "Duration in seconds to start a pod, excluding time to pull images and run init containers, measured from "
            "pod creation timestamp to when all its containers are reported as started and observed via watch",
            buckets=POD_START_BUCKETS,
        )
        self.started_pods = self._counter("started_pods_total", "Cumulative number of pods started")
        self.started_pods_errors = self._counter(
            "started_pods_errors_total", "Cumulative number of errors when starting pods"
        )
        self.started_containers = self._counter(
            "started_containers_total", "Cumulative number of containers started", "container_type"
        )
        self.started_containers_errors = self._counter(
            "started_containers_errors_total",
            "Cumulative number of errors when starting containers",
            *("container_type", "code"),
        )

    def _of_loops(self) -> None:
        self.pod_worker = self._histogram(
            "pod_worker_duration_seconds",
            "Duration in seconds to sync a single pod. Broken down by operation type: create, update, or sync",
            "operation_type",
        )
        self.pod_worker_start = self._histogram(
            "pod_worker_start_duration_seconds", "Duration in seconds from kubelet seeing a pod to starting a worker."
        )
        self.pod_status_sync = self._histogram(
            "pod_status_sync_duration_seconds",
            "Duration in seconds to sync a pod status update. Measures time from detection of a change to pod status "
            "until the API is successfully updated for that pod, even if multiple intevening changes to pod status "
            "occur.",
            buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 20, 30, 45, 60),
        )
        self.pleg_relist = self._histogram(
            "pleg_relist_duration_seconds", "Duration in seconds for relisting pods in PLEG."
        )
        self.pleg_interval = self._histogram(
            "pleg_relist_interval_seconds", "Interval in seconds between relisting in PLEG."
        )
        self.pleg_last_seen = self._gauge(
            "pleg_last_seen_seconds", "Timestamp in seconds when PLEG was last seen active."
        )
        self.restarted_pods = self._counter(
            "restarted_pods_total",
            "Number of pods that have been restarted because they were deleted and recreated with the same UID while "
            "the kubelet was watching them (common for static pods, extremely uncommon for API pods)",
            "static",
        )

    def _of_runtime(self) -> None:
        self.image_pull = self._histogram(
            "image_pull_duration_seconds",
            "Duration in seconds to pull an image.",
            "image_size_in_bytes",
            buckets=IMAGE_PULL_BUCKETS,
        )
        self.operations = self._counter(
            "runtime_operations_total", "Cumulative number of runtime operations by operation type.", "operation_type"
        )
        self.operation_errors = self._counter(
            "runtime_operations_errors_total",
            "Cumulative number of runtime operation errors by operation type.",
            "operation_type",
        )
        self.operation_seconds = self._histogram(
            "runtime_operations_duration_seconds",
            "Duration in seconds of runtime operations. Broken down by operation type.",
            "operation_type",
            buckets=OPERATION_BUCKETS,
        )

    def _of_server(self) -> None:
        self.evictions = self._counter(
            "evictions", "Cumulative number of pod evictions by eviction signal", "eviction_signal"
        )
        self.eviction_stats_age = self._histogram(
            "eviction_stats_age_seconds",
            "Time between when stats are collected, and when pod is evicted based on those stats by eviction signal",
            "eviction_signal",
        )
        self.images_collected = self._counter(
            "image_garbage_collected_total",
            "Total number of images garbage collected by the kubelet, whether through disk usage or image age.",
            "reason",
        )
        self.containers_per_pod = self._histogram(
            "containers_per_pod_count", "The number of containers per pod.", buckets=(1, 2, 4, 8, 16)
        )
        self.http_requests = self._counter(
            "http_requests_total", "Number of the http requests received since the server started", *HTTP_LABELS
        )
        self.http_seconds = self._histogram(
            "http_requests_duration_seconds", "Duration in seconds to serve http requests", *HTTP_LABELS
        )
        self.http_inflight = self._gauge("http_inflight_requests", "Number of the inflight http requests", *HTTP_LABELS)
        self.certificate_renew_errors = self._counter(
            "server_expiration_renew_errors", "Counter of certificate renewal errors."
        )

    def _of_probes(self) -> None:
        self.probe_total = self.probes.add(Counter("prober_probe_total", ALPHA + _PROBE_TOTAL, PROBE_LABELS))
        self.probe_seconds = self.probes.add(
            Histogram(
                "prober_probe_duration_seconds",
                ALPHA + "Duration in seconds for a probe response.",
                ("container", "namespace", "pod", "probe_type"),
            )
        )

    def probed(self, pod: Object, container: str, kind: str, verdict: str) -> None:
        """A probe's outcome: a `ProbeObserver` of the pod loop. `kind` is Readiness, Liveness or Startup."""
        labels = (container, namespace_of(pod), name_of(pod), uid_of(pod), kind, PROBE_RESULTS.get(verdict, verdict))
        self.probe_total.add(*labels)


_PROBE_TOTAL = "Cumulative number of a liveness, readiness or startup probe for a container by result."


class _Measured:
    """Counts and times every call of a runtime by its name."""

    def __init__(self, runtime: Runtime, metrics: KubeletMetrics) -> None:
        self._runtime = runtime
        self._metrics = metrics

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._runtime, name)
        if not callable(method):
            return method
        wrapped = self._wrapped(OPERATIONS.get(name, name), method)
        setattr(self, name, wrapped)
        return wrapped

    def _wrapped(self, operation: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        metrics = self._metrics

        async def call(*given: Any, **named: Any) -> Any:
            loop = asyncio.get_running_loop()
            began = loop.time()
            metrics.operations.add(operation)
            try:
                return await method(*given, **named)
            except RuntimeFailure:
                metrics.operation_errors.add(operation)
                raise
            finally:
                metrics.operation_seconds.observe(loop.time() - began, operation)

        return call


def measured(runtime: Runtime, metrics: KubeletMetrics) -> Runtime:
    return cast("Runtime", _Measured(runtime, metrics))
