"""`/stats/summary`: a sample as `k8s.io/kubelet/pkg/apis/stats/v1alpha1.Summary`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twinplane.clock import rfc3339
from twinplane.dataplane.kubelet.stats.cgroup_files import Pressure
from twinplane.dataplane.kubelet.stats.filesystems import Disk, FileSystem, Volume
from twinplane.dataplane.kubelet.stats.proc_files import Interface
from twinplane.dataplane.kubelet.stats.sampling import ContainerSample, Group, NodeSample, PodSample

DEFAULT_INTERFACE = "eth0"
Json = dict[str, Any]


def summary(
    sample: NodeSample, *, node: str, memory_bytes: int, pid_max: int, processes: int, only_cpu_and_memory: bool = False
) -> Json:
    """`memory_bytes` and `pid_max` are the machine's capacity, `processes` what runs on it."""
    everything = not only_cpu_and_memory
    whole = {
        "nodeName": node,
        "startTime": rfc3339(sample.node.made_at),
        **_resources(sample.node, memory_bytes),
        "systemContainers": _system_containers(sample),
    }
    if everything:
        whole |= {
            "network": _network(sample.interfaces, sample.at),
            "fs": _node_files(sample),
            "runtime": {"imageFs": _runtime_files(sample), "containerFs": _runtime_files(sample)},
            "rlimit": {"time": rfc3339(sample.at), "maxpid": pid_max, "curproc": processes},
        }
    return {"node": whole, "pods": [_pod(pod, sample, everything=everything) for pod in sample.pods]}


def _pod(pod: PodSample, sample: NodeSample, *, everything: bool) -> Json:
    found = {
        "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "startTime": rfc3339(pod.started),
        "containers": [_container(item, sample, everything=everything) for item in pod.containers],
        **_resources(pod.group, pod.group.usage.memory_limit),
    }
    if everything:
        found["process_stats"] = {"process_count": pod.group.usage.threads}
        if pod.interfaces:
            found["network"] = _network(pod.interfaces, pod.group.at)
        if pod.disk.volumes:
            found["volume"] = [_volume(volume, pod, sample) for volume in pod.disk.volumes]
        found["ephemeral-storage"] = _share(sample, ephemeral(pod))
    return found


def ephemeral(pod: PodSample) -> Disk:
    """What counts as a pod's ephemeral storage: writable layers, logs and local volumes."""
    parts: list[Disk] = [item.layer for item in pod.containers]
    parts += pod.disk.logs.values()
    parts += [Disk(volume.files.used) for volume in pod.disk.volumes if volume.is_ephemeral]
    return Disk(sum(part.bytes for part in parts), sum(part.inodes for part in parts))


def _container(item: ContainerSample, sample: NodeSample, *, everything: bool) -> Json:
    found = {
        "name": item.name,
        "startTime": rfc3339(item.started),
        **_resources(item.group, item.group.usage.memory_limit),
    }
    if everything:
        found |= {"rootfs": _share(sample, item.layer), "logs": _share(sample, item.log)}
    return found


def _resources(group: Group, limit: int) -> Json:
    usage, time = group.usage, rfc3339(group.at)
    memory: Json = {
        "time": time,
        "usageBytes": usage.memory,
        "workingSetBytes": usage.working_set,
        "rssBytes": usage.rss,
        "pageFaults": usage.page_faults,
        "majorPageFaults": usage.major_faults,
    }
    if limit:
        memory["availableBytes"] = max(limit - usage.working_set, 0)
    cpu: Json = {"time": time, "usageNanoCores": group.rate, "usageCoreNanoSeconds": usage.cpu}
    found: Json = {
        "cpu": _with_pressure(cpu, usage.pressure, "cpu"),
        "memory": _with_pressure(memory, usage.pressure, "memory"),
        "swap": {"time": time, "swapAvailableBytes": 0, "swapUsageBytes": usage.swap},
    }
    if "io" in usage.pressure:
        found["io"] = _with_pressure({"time": time}, usage.pressure, "io")
    return found


def _with_pressure(found: Json, pressures: Mapping[str, Pressure], resource: str) -> Json:
    if resource in pressures:
        pressure = pressures[resource]
        found["psi"] = {"full": _averages(pressure.full), "some": _averages(pressure.some)}
    return found


def _averages(values: tuple[int, float, float, float]) -> Json:
    total, avg10, avg60, avg300 = values
    return {"total": total * 1000, "avg10": avg10, "avg60": avg60, "avg300": avg300}


def _system_containers(sample: NodeSample) -> list[Json]:
    pods = (level for level in sample.levels if level.path == "/kubepods")
    return [{"name": "pods", "startTime": rfc3339(each.made_at), **_resources(each, 0)} for each in pods]


# -- network -----------------------------------------------------------------------------------------------------------


def _network(found: Iterable[Interface], at: float) -> Json:
    all_ = [_interface(item) for item in found]
    default = next((item for item in all_ if item["name"] == DEFAULT_INTERFACE), {"name": ""})
    return {"time": rfc3339(at), **default, "interfaces": all_}


def _interface(item: Interface) -> Json:
    return {
        "name": item.name,
        "rxBytes": item.rx_bytes,
        "rxErrors": item.rx_errors,
        "txBytes": item.tx_bytes,
        "txErrors": item.tx_errors,
    }


# -- disk --------------------------------------------------------------------------------------------------------------


def _files(files: FileSystem, at: float) -> Json:
    return {
        "time": rfc3339(at),
        "availableBytes": files.available,
        "capacityBytes": files.capacity,
        "usedBytes": files.used,
        "inodesFree": files.inodes_free,
        "inodes": files.inodes,
        "inodesUsed": max(files.inodes - files.inodes_free, 0),
    }


def _node_files(sample: NodeSample) -> Json:
    return _files(sample.files.node, sample.files.at)


def _share(sample: NodeSample, used: Disk) -> Json:
    """Of the node's file system."""
    return {**_node_files(sample), "usedBytes": used.bytes, "inodesUsed": used.inodes}


def _runtime_files(sample: NodeSample) -> Json:
    return _share(sample, sample.files.images)


def _volume(volume: Volume, pod: PodSample, sample: NodeSample) -> Json:
    if not volume.files.capacity:
        found = {**_node_files(sample), "usedBytes": volume.files.used}
    else:
        found = _files(volume.files, sample.files.at)
    found["name"] = volume.name
    if volume.claim:
        found["pvcRef"] = {"name": volume.claim, "namespace": pod.namespace}
    return found
