"""`/metrics/cadvisor`: every cgroup of the node in cAdvisor's series, with the labels that the kubelet gives them.

The node's own cgroup is `id="/"`; QoS levels and pods have only an id (pods also their name), containers and sandboxes
the runtime's name and image. As with cAdvisor on containerd, network belongs to the sandbox (`container=""`).
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from twinplane.dataplane.exposition import escaped, labelled, number
from twinplane.dataplane.kubelet.stats.cadvisor_series import SERIES, SPECIFICATIONS, Measured, Processes, Series
from twinplane.dataplane.kubelet.stats.cgroup_files import Device
from twinplane.dataplane.kubelet.stats.cgroup_tree import CgroupTree, read_file
from twinplane.dataplane.kubelet.stats.proc_files import Disk, disks, open_files_limit
from twinplane.dataplane.kubelet.stats.sampling import Group, NodeSample

LABELS = ("container", "id", "image", "name", "namespace", "pod")
MEBIBYTE = 1024**2


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What the machine_* series tell."""

    vcpus: int
    memory_bytes: int
    boot_id: str = ""
    machine_id: str = ""
    system_uuid: str = ""
    os_image: str = ""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A cgroup, its labels (rendered, without braces) and what is known of it."""

    labels: str
    group: Group
    measured: Measured
    started: float


def cadvisor_metrics(
    sample: NodeSample, tree: CgroupTree, machine: MachineFacts, *, device: int | None = None, pause_image: str = ""
) -> str:
    """`device` is the `st_dev` of the node's file system."""
    found = list(_Collector(sample, tree, device, pause_image).groups())
    lines = [*_versions(machine), *_rendered(SERIES, found, stamped=True), *_times(found, sample.at)]
    lines += [*_rendered(SPECIFICATIONS, found, stamped=False), *_machine(machine)]
    lines += _family(
        "container_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise", "0"
    )
    return "\n".join(lines) + "\n"


@dataclass(slots=True)
class _Collector:
    sample: NodeSample
    tree: CgroupTree
    device: int | None
    pause_image: str
    _processes: dict[int, Processes] = field(default_factory=dict)
    _names: dict[tuple[int, int], str] = field(default_factory=dict)

    def groups(self) -> Iterator[Labelled]:
        sample = self.sample
        disk, name = self._node_disk()
        yield self._labelled(
            sample.node,
            sample.node.made_at,
            Measured(
                sample.node.usage,
                self._of_processes(sample.node.path),
                sample.interfaces,
                device=name,
                files=sample.files.node,
                disk=disk,
                device_names=self._device_name,
            ),
        )
        for level in sample.levels:
            yield self._labelled(level, level.made_at)
        for pod in sample.pods:
            owner = {"namespace": pod.namespace, "pod": pod.name}
            yield self._labelled(pod.group, pod.started, None, **owner)
            if pod.sandbox is not None:
                measured = Measured(
                    pod.sandbox.usage,
                    self._of_processes(pod.sandbox.path, first=True),
                    pod.interfaces,
                    device_names=self._device_name,
                )
                more = {**owner, "name": pod.sandbox_id, "image": self.pause_image}
                yield self._labelled(pod.sandbox, pod.started, measured, **more)
            for item in pod.containers:
                more = {**owner, "container": item.name, "name": item.id, "image": item.image}
                measured = Measured(
                    item.group.usage,
                    self._of_processes(item.group.path, first=True),
                    device_names=self._device_name,
                )
                yield self._labelled(item.group, item.started, measured, **more)

    def _labelled(self, group: Group, started: float, measured: Measured | None = None, **labels: str) -> Labelled:
        given = {**dict.fromkeys(LABELS, ""), "id": group.path, **labels}
        if measured is None:
            measured = Measured(group.usage, self._of_processes(group.path), device_names=self._device_name)
        return Labelled(",".join(f'{key}="{escaped(given[key])}"' for key in LABELS), group, measured, started)

    def _of_processes(self, path: str, *, first: bool = False) -> Processes:
        pids = self.tree.processes(path)
        each = [self._of_process(pid) for pid in pids]
        limit = open_files_limit(read_file(f"/proc/{min(pids)}/limits")) if first and pids else None
        return Processes(len(pids), sum(one.descriptors for one in each), sum(one.sockets for one in each), limit)

    def _of_process(self, pid: int) -> Processes:
        """Each is counted once for a scrape, though several cgroups contain it."""
        if pid not in self._processes:
            self._processes[pid] = _descriptors(pid)
        return self._processes[pid]

    def _device_name(self, device: Device) -> str:
        return self._name(device.major, device.minor)

    def _name(self, major: int, minor: int) -> str:
        key = (major, minor)
        if key not in self._names:
            facts = dict(
                line.partition("=")[::2] for line in read_file(f"/sys/dev/block/{major}:{minor}/uevent").split()
            )
            self._names[key] = f"/dev/{facts['DEVNAME']}" if "DEVNAME" in facts else ""
        return self._names[key]

    def _node_disk(self) -> tuple[Disk, str]:
        if self.device is None:
            return Disk(*[0] * 11), ""
        key = (os.major(self.device), os.minor(self.device))
        return disks(read_file("/proc/diskstats")).get(key, Disk(*[0] * 11)), self._name(*key)


def _descriptors(pid: int) -> Processes:
    """Nothing for a process that has gone meanwhile."""
    directory = f"/proc/{pid}/fd"
    count = sockets = 0
    try:
        for name in os.listdir(directory):
            count += 1
            sockets += os.readlink(f"{directory}/{name}").startswith("socket:")
    except OSError:
        pass
    return Processes(1, count, sockets)


# -- text --------------------------------------------------------------------------------------------------------------


def _rendered(series: Iterable[Series], found: list[Labelled], *, stamped: bool) -> Iterator[str]:
    for item in series:
        lines = []
        for each in found:
            stamp = f" {int(each.group.at * 1000)}" if stamped else ""
            for more, value in item.values(each.measured):
                labels = f"{each.labels},{more}" if more else each.labels
                lines.append(f"{item.name}{{{labels}}} {number(value)}{stamp}")
        if lines:
            yield f"# HELP {item.name} {item.help}"
            yield f"# TYPE {item.name} {item.type}"
            yield from lines


def _times(found: list[Labelled], now: float) -> Iterator[str]:
    yield "# HELP container_last_seen Last time a container was seen by the exporter"
    yield "# TYPE container_last_seen gauge"
    for each in found:
        yield f"container_last_seen{{{each.labels}}} {int(now)} {int(each.group.at * 1000)}"
    yield "# HELP container_start_time_seconds Start time of the container since unix epoch in seconds."
    yield "# TYPE container_start_time_seconds gauge"
    for each in found:
        yield f"container_start_time_seconds{{{each.labels}}} {int(each.started)}"


def _family(name: str, help: str, value: str, labels: Mapping[str, str] | None = None) -> list[str]:
    return [f"# HELP {name} {help}", f"# TYPE {name} gauge", f"{name}{labelled(**(labels or {}))} {value}"]


def _versions(machine: MachineFacts) -> list[str]:
    labels = {
        "cadvisorRevision": "",
        "cadvisorVersion": "",
        "dockerVersion": "",
        "kernelVersion": platform.release(),
        "osVersion": machine.os_image,
    }
    text = (
        "A metric with a constant '1' value labeled by kernel version, OS version, docker version, cadvisor version & "
        "cadvisor revision."
    )
    return _family("cadvisor_version_info", text, "1", labels)


def _machine(machine: MachineFacts) -> Iterator[str]:
    labels = {"boot_id": machine.boot_id, "machine_id": machine.machine_id, "system_uuid": machine.system_uuid}
    family = partial(_family, labels=labels)
    yield from family("machine_cpu_cores", "Number of logical CPU cores.", str(machine.vcpus))
    # Two threads a core, as on nearly all instance types.
    yield from family("machine_cpu_physical_cores", "Number of physical CPU cores.", str(max(machine.vcpus // 2, 1)))
    yield from family("machine_cpu_sockets", "Number of CPU sockets.", "1")
    yield from family("machine_memory_bytes", "Amount of memory installed on the machine.", str(machine.memory_bytes))
    yield from family("machine_nvm_avg_power_budget_watts", "NVM power budget.", "0")
    capacity = "NVM capacity value labeled by NVM mode (memory mode or app direct mode)."
    lines = [_family("machine_nvm_capacity", capacity, "0", {**labels, "mode": mode}) for mode in _NVM_MODES]
    yield from [*lines[0], lines[1][2]]
    yield from family("machine_swap_bytes", "Amount of swap memory available on the machine.", "0")


_NVM_MODES = ("app_direct_mode", "memory_mode")
