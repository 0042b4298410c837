"""The series of `/metrics/cadvisor`, as data: names, help texts, and which numbers they are. Pure.

Those that the kubelet of 1.36 has cAdvisor collect (CPU, CPU load, memory, disk, disk I/O, network, processes, OOM
events, pressure), in the words of cAdvisor's `metrics/prometheus.go`. Times are nanoseconds here, seconds there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from twinplane.dataplane.kubelet.stats.cgroup_files import Device, Usage
from twinplane.dataplane.kubelet.stats.filesystems import FileSystem
from twinplane.dataplane.kubelet.stats.proc_files import Disk, Interface

SECTOR = 512


class Processes(NamedTuple):
    """Of all processes of a cgroup."""

    running: int = 0
    descriptors: int = 0
    sockets: int = 0
    open_files_limit: int | None = None
    """Of the container's first process."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that is known of one cgroup. `disk` and `files` only of the node's own."""

    usage: Usage
    processes: Processes
    interfaces: tuple[Interface, ...] = ()
    device: str = ""
    files: FileSystem | None = None
    disk: Disk | None = None
    device_names: Callable[[Device], str] = lambda device: ""


Labels = str
"""Further labels, rendered: `cpu="total"`."""
Values = Callable[[Measured], Iterator[tuple[Labels, float]]]


class Series(NamedTuple):
    name: str
    help: str
    type: str
    values: Values


def _plain(value: Callable[[Usage], float], labels: Labels = "") -> Values:
    def values(found: Measured) -> Iterator[tuple[Labels, float]]:
        yield labels, value(found.usage)

    return values


def _with_quota(value: Callable[[Usage], float]) -> Values:
    def values(found: Measured) -> Iterator[tuple[Labels, float]]:
        if found.usage.quota:
            yield "", value(found.usage)

    return values


def _processes(value: Callable[[Processes], float]) -> Values:
    def values(found: Measured) -> Iterator[tuple[Labels, float]]:
        yield "", value(found.processes)

    return values


def _network(name: str) -> Values:
    def values(found: Measured) -> Iterator[tuple[Labels, float]]:
        for item in found.interfaces:
            yield f'interface="{item.name}"', getattr(item, name)

    return values


def _devices(name: str, of_disk: Callable[[Disk], float] | None = None) -> Values:
    """What a cgroup did to devices, or for the node what was done to its disk."""

    def values(found: Measured) -> Iterator[tuple[Labels, float]]:
        for device in found.usage.devices if name else ():
            yield f'device="{found.device_names(device)}"', getattr(device, name)
        if of_disk is not None and found.disk is not None:
            yield f'device="{found.device}"', of_disk(found.disk)

    return values


def _files(name: str) -> Values:
    def values(found: Measured) -> Iterator[tuple[Labels, float]]:
        if found.files is not None:
            yield f'device="{found.device}"', getattr(found.files, name)

    return values


def _block_usage(found: Measured) -> Iterator[tuple[Labels, float]]:
    for device in found.usage.devices:
        base = f'device="{found.device_names(device)}",major="{device.major}",minor="{device.minor}"'
        yield f'{base},operation="Read"', device.read_bytes
        yield f'{base},operation="Write"', device.write_bytes


def _tasks(found: Measured) -> Iterator[tuple[Labels, float]]:
    """The kubelet does not have cAdvisor read task states; the series are there all the same."""
    for state in ("iowaiting", "running", "sleeping", "stopped", "uninterruptible"):
        yield f'state="{state}"', 0


def _memory_failures(found: Measured) -> Iterator[tuple[Labels, float]]:
    usage = found.usage
    yield 'failure_type="pgfault",scope="container"', usage.own_page_faults
    yield 'failure_type="pgfault",scope="hierarchy"', usage.page_faults
    yield 'failure_type="pgmajfault",scope="container"', usage.own_major_faults
    yield 'failure_type="pgmajfault",scope="hierarchy"', usage.major_faults


def _open_files(found: Measured) -> Iterator[tuple[Labels, float]]:
    if found.processes.open_files_limit is not None:
        yield 'ulimit="max_open_files"', found.processes.open_files_limit


def _stalled(resource: str, kind: str) -> Values:
    def values(found: Measured) -> Iterator[tuple[Labels, float]]:
        pressure = found.usage.pressure.get(resource)
        if pressure is not None:
            yield "", getattr(pressure, kind)[0] / 1e6

    return values


def _pressure() -> Iterator[Series]:
    for resource, name in (("cpu", "CPU"), ("memory", "memory"), ("io", "IO")):
        yield Series(
            f"container_pressure_{resource}_stalled_seconds_total",
            f"Total time duration no tasks in the container could make progress due to {name} congestion.",
            "counter",
            _stalled(resource, "full"),
        )
        yield Series(
            f"container_pressure_{resource}_waiting_seconds_total",
            f"Total time duration tasks in the container have waited due to {name} congestion.",
            "counter",
            _stalled(resource, "some"),
        )


def _network_series() -> Iterator[Series]:
    for way, doing, short in (("receive", "receiving", "rx"), ("transmit", "transmitting", "tx")):
        texts = {
            "bytes": f"bytes {way}{'d' if way == 'receive' else 'ted'}",
            "packets": f"packets {way}{'d' if way == 'receive' else 'ted'}",
            "errors": f"errors encountered while {doing}",
            "dropped": f"packets dropped while {doing}",
        }
        for what, text in texts.items():
            name = "packets_dropped" if what == "dropped" else what
            yield Series(
                f"container_network_{way}_{name}_total",
                f"Cumulative count of {text}",
                "counter",
                _network(f"{short}_{what}"),
            )


COUNTER, GAUGE = "counter", "gauge"
_DONE = "Cumulative count of"

SERIES: tuple[Series, ...] = (
    Series("container_blkio_device_usage_total", "Blkio Device bytes usage", COUNTER, _block_usage),
    Series(
        "container_cpu_cfs_burst_periods_total",
        "Number of periods when burst occurs.",
        COUNTER,
        _with_quota(lambda u: u.bursts),
    ),
    Series(
        "container_cpu_cfs_burst_seconds_total",
        "Total time duration the container has been bursted.",
        COUNTER,
        _with_quota(lambda u: u.burst / 1e9),
    ),
    Series(
        "container_cpu_cfs_periods_total",
        "Number of elapsed enforcement period intervals.",
        COUNTER,
        _with_quota(lambda u: u.periods),
    ),
    Series(
        "container_cpu_cfs_throttled_periods_total",
        "Number of throttled period intervals.",
        COUNTER,
        _with_quota(lambda u: u.throttled_periods),
    ),
    Series(
        "container_cpu_cfs_throttled_seconds_total",
        "Total time duration the container has been throttled.",
        COUNTER,
        _with_quota(lambda u: u.throttled / 1e9),
    ),
    Series(
        "container_cpu_load_average_10s",
        "Value of container cpu load average over the last 10 seconds.",
        GAUGE,
        _plain(lambda u: 0),
    ),
    Series(
        "container_cpu_load_d_average_10s",
        "Value of container cpu load.d average over the last 10 seconds.",
        GAUGE,
        _plain(lambda u: 0),
    ),
    Series(
        "container_cpu_system_seconds_total",
        "Cumulative system cpu time consumed in seconds.",
        COUNTER,
        _plain(lambda u: u.cpu_system / 1e9),
    ),
    Series(
        "container_cpu_usage_seconds_total",
        "Cumulative cpu time consumed in seconds.",
        COUNTER,
        _plain(lambda u: u.cpu / 1e9, 'cpu="total"'),
    ),
    Series(
        "container_cpu_user_seconds_total",
        "Cumulative user cpu time consumed in seconds.",
        COUNTER,
        _plain(lambda u: u.cpu_user / 1e9),
    ),
    Series(
        "container_file_descriptors",
        "Number of open file descriptors for the container.",
        GAUGE,
        _processes(lambda p: p.descriptors),
    ),
    Series("container_fs_inodes_free", "Number of available Inodes", GAUGE, _files("inodes_free")),
    Series("container_fs_inodes_total", "Number of Inodes", GAUGE, _files("inodes")),
    Series(
        "container_fs_io_current",
        "Number of I/Os currently in progress",
        GAUGE,
        _devices("", lambda disk: disk.in_progress),
    ),
    Series(
        "container_fs_io_time_seconds_total",
        f"{_DONE} seconds spent doing I/Os",
        COUNTER,
        _devices("", lambda disk: disk.io_time / 1e3),
    ),
    Series(
        "container_fs_io_time_weighted_seconds_total",
        "Cumulative weighted I/O time in seconds",
        COUNTER,
        _devices("", lambda disk: disk.weighted_io_time / 1e3),
    ),
    Series(
        "container_fs_limit_bytes",
        "Number of bytes that can be consumed by the container on this filesystem.",
        GAUGE,
        _files("capacity"),
    ),
    Series(
        "container_fs_read_seconds_total",
        f"{_DONE} seconds spent reading",
        COUNTER,
        _devices("", lambda disk: disk.read_time / 1e3),
    ),
    Series("container_fs_reads_bytes_total", f"{_DONE} bytes read", COUNTER, _devices("read_bytes")),
    Series(
        "container_fs_reads_merged_total",
        f"{_DONE} reads merged",
        COUNTER,
        _devices("", lambda disk: disk.reads_merged),
    ),
    Series("container_fs_reads_total", f"{_DONE} reads completed", COUNTER, _devices("reads", lambda disk: disk.reads)),
    Series(
        "container_fs_sector_reads_total",
        f"{_DONE} sector reads completed",
        COUNTER,
        _devices("", lambda disk: disk.sectors_read),
    ),
    Series(
        "container_fs_sector_writes_total",
        f"{_DONE} sector writes completed",
        COUNTER,
        _devices("", lambda disk: disk.sectors_written),
    ),
    Series(
        "container_fs_usage_bytes",
        "Number of bytes that are consumed by the container on this filesystem.",
        GAUGE,
        _files("used"),
    ),
    Series(
        "container_fs_write_seconds_total",
        f"{_DONE} seconds spent writing",
        COUNTER,
        _devices("", lambda disk: disk.write_time / 1e3),
    ),
    Series("container_fs_writes_bytes_total", f"{_DONE} bytes written", COUNTER, _devices("write_bytes")),
    Series(
        "container_fs_writes_merged_total",
        f"{_DONE} writes merged",
        COUNTER,
        _devices("", lambda disk: disk.writes_merged),
    ),
    Series(
        "container_fs_writes_total", f"{_DONE} writes completed", COUNTER, _devices("writes", lambda disk: disk.writes)
    ),
    Series("container_memory_cache", "Number of bytes of page cache memory.", GAUGE, _plain(lambda u: u.cache)),
    Series("container_memory_failcnt", "Number of memory usage hits limits", COUNTER, _plain(lambda u: u.failures)),
    Series("container_memory_failures_total", f"{_DONE} memory allocation failures.", COUNTER, _memory_failures),
    Series(
        "container_memory_kernel_usage",
        "Size of kernel memory allocated in bytes.",
        GAUGE,
        _plain(lambda u: u.kernel),
    ),
    Series("container_memory_mapped_file", "Size of memory mapped files in bytes.", GAUGE, _plain(lambda u: u.mapped)),
    Series(
        "container_memory_max_usage_bytes", "Maximum memory usage recorded in bytes", GAUGE, _plain(lambda u: u.peak)
    ),
    Series("container_memory_rss", "Size of RSS in bytes.", GAUGE, _plain(lambda u: u.rss)),
    Series("container_memory_swap", "Container swap usage in bytes.", GAUGE, _plain(lambda u: u.swap)),
    Series(
        "container_memory_total_active_file_bytes",
        "Current total active file in bytes.",
        GAUGE,
        _plain(lambda u: u.active_file),
    ),
    Series(
        "container_memory_total_inactive_file_bytes",
        "Current total inactive file in bytes.",
        GAUGE,
        _plain(lambda u: u.inactive_file),
    ),
    Series(
        "container_memory_usage_bytes",
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        GAUGE,
        _plain(lambda u: u.memory),
    ),
    Series(
        "container_memory_working_set_bytes",
        "Current working set in bytes.",
        GAUGE,
        _plain(lambda u: u.working_set),
    ),
    *_network_series(),
    Series(
        "container_oom_events_total",
        "Count of out of memory events observed for the container",
        COUNTER,
        _plain(lambda u: u.oom_kills),
    ),
    *_pressure(),
    Series(
        "container_processes",
        "Number of processes running inside the container.",
        GAUGE,
        _processes(lambda p: p.running),
    ),
    Series("container_sockets", "Number of open sockets for the container.", GAUGE, _processes(lambda p: p.sockets)),
    Series("container_tasks_state", "Number of tasks in given state", GAUGE, _tasks),
    Series("container_threads", "Number of threads running inside the container", GAUGE, _plain(lambda u: u.threads)),
    Series(
        "container_threads_max",
        "Maximum number of threads allowed inside the container, infinity if value is zero",
        GAUGE,
        _plain(lambda u: u.threads_max),
    ),
    Series(
        "container_ulimits_soft",
        "Soft ulimit values for the container root process. Unlimited if -1, except priority and nice",
        GAUGE,
        _open_files,
    ),
)

SPECIFICATIONS: tuple[Series, ...] = (
    Series("container_spec_cpu_period", "CPU period of the container.", GAUGE, _plain(lambda u: u.period)),
    Series("container_spec_cpu_quota", "CPU quota of the container.", GAUGE, _with_quota(lambda u: u.quota)),
    Series("container_spec_cpu_shares", "CPU share of the container.", GAUGE, _plain(lambda u: u.shares)),
    Series(
        "container_spec_memory_limit_bytes",
        "Memory limit for the container.",
        GAUGE,
        _plain(lambda u: u.memory_limit),
    ),
    Series(
        "container_spec_memory_reservation_limit_bytes",
        "Memory reservation limit for the container.",
        GAUGE,
        _plain(lambda u: u.reservation),
    ),
    Series(
        "container_spec_memory_swap_limit_bytes",
        "Memory swap limit for the container.",
        GAUGE,
        _plain(lambda u: u.swap_limit),
    ),
)
"""Without a timestamp: they are no measurements."""
