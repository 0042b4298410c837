"""`/metrics`, `/metrics/probes` and `/metrics/slis`: the kubelet's own registry, and what is counted when asked."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Mapping

from twinplane.dataplane.exposition import Family, Sample, labelled, render
from twinplane.dataplane.kubelet.metrics import KubeletMetrics
from twinplane.dataplane.kubelet.stats.cgroup_tree import read_file
from twinplane.dataplane.kubelet.stats.filesystems import Found
from twinplane.dataplane.kubelet.stats.sampling import running_containers
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import name_of, namespace_of, uid_of

ALPHA, STABLE = "[ALPHA] ", "[STABLE] "
PAGE = resource.getpagesize()
TICKS = os.sysconf("SC_CLK_TCK")
_OF_VOLUME = {
    "available_bytes": ("Number of available bytes in the volume", "available"),
    "capacity_bytes": ("Capacity in bytes of the volume", "capacity"),
    "inodes": ("Maximum number of inodes in the volume", "inodes"),
    "inodes_free": ("Number of free inodes in the volume", "inodes_free"),
    "inodes_used": ("Number of used inodes in the volume", ""),
    "used_bytes": ("Number of used bytes in the volume", "used"),
}


def kubelet_metrics(metrics: KubeletMetrics, pods: list[Object], found: Found, *, version: str, node: str) -> str:
    metrics.node_name.set(1, node)
    _count_pods(metrics, pods)
    families = [
        *metrics.registry.families(),
        *_volumes(pods, found),
        *_logs(pods, found),
        *process_families(),
        build_info(version),
    ]
    return render(sorted((family for family in families if family.samples), key=lambda family: family.name))


def _count_pods(metrics: KubeletMetrics, pods: list[Object]) -> None:
    running = [sum(1 for _ in running_containers(pod)) for pod in pods]
    metrics.running_pods.set(sum(1 for count in running if count))
    metrics.running_containers.set(sum(running), "running")
    active = [pod for pod in pods if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]
    for static in ("true", "false"):
        metrics.desired_pods.set(sum(_is_static(pod) == static for pod in pods), static)
        metrics.active_pods.set(sum(_is_static(pod) == static for pod in active), static)


def _is_static(pod: Object) -> str:
    source = (pod["metadata"].get("annotations") or {}).get("kubernetes.io/config.source", "api")
    return str(source != "api").lower()


def _volumes(pods: list[Object], found: Found) -> Iterable[Family]:
    claimed = [
        (labelled(namespace=namespace_of(pod), persistentvolumeclaim=volume.claim), volume.files)
        for pod in pods
        for volume in (found.pods[uid_of(pod)].volumes if uid_of(pod) in found.pods else ())
        if volume.claim
    ]
    # Pods may share a claim.
    files_of = dict(claimed)
    for name, (text, field) in _OF_VOLUME.items():
        samples = [
            Sample(labels, getattr(files, field) if field else max(files.inodes - files.inodes_free, 0))
            for labels, files in files_of.items()
        ]
        yield Family(f"kubelet_volume_stats_{name}", ALPHA + text, "gauge", samples)


def _logs(pods: list[Object], found: Found) -> Iterable[Family]:
    samples = [
        Sample(labelled(uid=uid_of(pod), namespace=namespace_of(pod), pod=name_of(pod), container=name), log.bytes)
        for pod in pods
        for name, log in (found.pods[uid_of(pod)].logs if uid_of(pod) in found.pods else {}).items()
    ]
    text = "Bytes used by the container's logs on the filesystem."
    yield Family("kubelet_container_log_filesystem_used_bytes", ALPHA + text, "gauge", samples)


def probe_metrics(metrics: KubeletMetrics) -> str:
    start = [family for family in process_families() if family.name == "process_start_time_seconds"]
    return render([*start, *metrics.probes.families()])


def health_metrics(wrong: Mapping[str, str]) -> str:
    """`/metrics/slis`: `wrong` is what each health check says, empty for well."""
    samples = [Sample(labelled(name=name, type="healthz"), int(not why)) for name, why in sorted(wrong.items())]
    text = f"{STABLE}This metric records the result of a single healthcheck."
    return render([Family("kubernetes_healthcheck", text, "gauge", samples)])


def build_info(version: str) -> Family:
    major, _, rest = version.lstrip("v").partition(".")
    labels = {
        "build_date": "",
        "compiler": "",
        "git_commit": "",
        "git_tree_state": "",
        "git_version": version,
        "go_version": "",
        "major": major,
        "minor": rest.partition(".")[0],
        "platform": "linux/amd64",
    }
    text = (
        f"{ALPHA}A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, "
        "build date, Go version, and compiler from which Kubernetes was built, and platform on which it is running."
    )
    return Family("kubernetes_build_info", text, "gauge", [Sample(labelled(**labels), 1)])


def process_families() -> list[Family]:
    """Of this process, as client_golang's process collector tells them."""
    words = read_file("/proc/self/stat").rpartition(")")[2].split()
    memory = read_file("/proc/self/statm").split()
    boot = next((line.split()[1] for line in read_file("/proc/stat").splitlines() if line.startswith("btime")), "0")
    if len(words) < 20 or len(memory) < 2:
        return []
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    values = {
        "process_cpu_seconds_total": (
            "Total user and system CPU time spent in seconds.",
            "counter",
            (int(words[11]) + int(words[12])) / TICKS,
        ),
        "process_max_fds": ("Maximum number of open file descriptors.", "gauge", soft),
        "process_open_fds": ("Number of open file descriptors.", "gauge", len(os.listdir("/proc/self/fd"))),
        "process_resident_memory_bytes": ("Resident memory size in bytes.", "gauge", int(memory[1]) * PAGE),
        "process_start_time_seconds": (
            "Start time of the process since unix epoch in seconds.",
            "gauge",
            int(boot) + int(words[19]) / TICKS,
        ),
        "process_virtual_memory_bytes": ("Virtual memory size in bytes.", "gauge", int(memory[0]) * PAGE),
    }
    return [Family(name, text, kind, [Sample("", value)]) for name, (text, kind, value) in values.items()]
