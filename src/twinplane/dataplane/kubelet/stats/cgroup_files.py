"""The files of one cgroup as numbers: cgroup v1 and v2 in one vocabulary. Pure: `read` gives the text of a file.

`read` is asked for `CONTROLLER/FILE` on v1 and for `FILE` on v2, and gives an empty text for what is not there. Which
file stands for which number follows cAdvisor and runc's libcontainer. Bytes, nanoseconds; limits are 0 for none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

Read = Callable[[str], str]
UNLIMITED = 1 << 62
"""Memory limits above are the kernel's word for none."""
TICK_NANOSECONDS = 10_000_000
"""USER_HZ is 100 on every Linux."""
DEFAULT_PERIOD = 100_000


@dataclass(frozen=True, slots=True)
class Pressure:
    """PSI of a resource: microseconds in which some or all tasks waited, and percent of the last 10, 60, 300 s."""

    some: tuple[int, float, float, float] = (0, 0.0, 0.0, 0.0)
    full: tuple[int, float, float, float] = (0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Device:
    """What a cgroup read from and wrote to a block device."""

    major: int
    minor: int
    read_bytes: int = 0
    write_bytes: int = 0
    reads: int = 0
    writes: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    cpu: int = 0
    cpu_user: int = 0
    cpu_system: int = 0
    periods: int = 0
    throttled_periods: int = 0
    throttled: int = 0
    bursts: int = 0
    burst: int = 0
    memory: int = 0
    working_set: int = 0
    rss: int = 0
    cache: int = 0
    mapped: int = 0
    kernel: int = 0
    swap: int = 0
    peak: int = 0
    failures: int = 0
    active_file: int = 0
    inactive_file: int = 0
    page_faults: int = 0
    major_faults: int = 0
    own_page_faults: int = 0
    """Without those of cgroups below; v2 does not tell."""
    own_major_faults: int = 0
    oom_kills: int = 0
    threads: int = 0
    threads_max: int = 0
    shares: int = 0
    period: int = DEFAULT_PERIOD
    quota: int = 0
    memory_limit: int = 0
    swap_limit: int = 0
    reservation: int = 0
    devices: tuple[Device, ...] = ()
    pressure: Mapping[str, Pressure] = field(default_factory=dict)
    """By resource: cpu, memory, io. Empty where the kernel does not tell."""


def usage_v1(read: Read) -> Usage:
    memory = flat(read("memory/memory.stat"))
    cpu = flat(read("cpu/cpu.stat"))
    ticks = flat(read("cpuacct/cpuacct.stat"))
    used = number(read("memory/memory.usage_in_bytes"))
    inactive = memory.get("total_inactive_file", 0)
    quota = number(read("cpu/cpu.cfs_quota_us"))
    return Usage(
        cpu=number(read("cpuacct/cpuacct.usage")),
        cpu_user=ticks.get("user", 0) * TICK_NANOSECONDS,
        cpu_system=ticks.get("system", 0) * TICK_NANOSECONDS,
        periods=cpu.get("nr_periods", 0),
        throttled_periods=cpu.get("nr_throttled", 0),
        throttled=cpu.get("throttled_time", 0),
        bursts=cpu.get("nr_bursts", 0),
        burst=cpu.get("burst_time", 0),
        memory=used,
        working_set=max(used - inactive, 0),
        rss=memory.get("total_rss", 0),
        cache=memory.get("total_cache", 0),
        mapped=memory.get("total_mapped_file", 0),
        kernel=number(read("memory/memory.kmem.usage_in_bytes")),
        swap=memory.get("total_swap", 0),
        peak=number(read("memory/memory.max_usage_in_bytes")),
        failures=number(read("memory/memory.failcnt")),
        active_file=memory.get("total_active_file", 0),
        inactive_file=inactive,
        page_faults=memory.get("total_pgfault", 0),
        major_faults=memory.get("total_pgmajfault", 0),
        own_page_faults=memory.get("pgfault", 0),
        own_major_faults=memory.get("pgmajfault", 0),
        oom_kills=flat(read("memory/memory.oom_control")).get("oom_kill", 0),
        threads=number(read("pids/pids.current")),
        threads_max=number(read("pids/pids.max")),
        shares=number(read("cpu/cpu.shares")),
        period=number(read("cpu/cpu.cfs_period_us")) or DEFAULT_PERIOD,
        quota=max(quota, 0),
        memory_limit=_limit(read("memory/memory.limit_in_bytes")),
        swap_limit=_limit(read("memory/memory.memsw.limit_in_bytes")),
        reservation=_limit(read("memory/memory.soft_limit_in_bytes")),
        devices=devices_v1(
            read("blkio/blkio.throttle.io_service_bytes_recursive"), read("blkio/blkio.throttle.io_serviced_recursive")
        ),
    )


def usage_v2(read: Read) -> Usage:
    memory = flat(read("memory.stat"))
    cpu = flat(read("cpu.stat"))
    events = flat(read("memory.events"))
    used = number(read("memory.current"))
    inactive = memory.get("inactive_file", 0)
    faults, major = memory.get("pgfault", 0), memory.get("pgmajfault", 0)
    quota, _, period = read("cpu.max").strip().partition(" ")
    return Usage(
        cpu=cpu.get("usage_usec", 0) * 1000,
        cpu_user=cpu.get("user_usec", 0) * 1000,
        cpu_system=cpu.get("system_usec", 0) * 1000,
        periods=cpu.get("nr_periods", 0),
        throttled_periods=cpu.get("nr_throttled", 0),
        throttled=cpu.get("throttled_usec", 0) * 1000,
        bursts=cpu.get("nr_bursts", 0),
        burst=cpu.get("burst_usec", 0) * 1000,
        memory=used,
        working_set=max(used - inactive, 0),
        rss=memory.get("anon", 0),
        cache=memory.get("file", 0),
        mapped=memory.get("file_mapped", 0),
        kernel=memory.get("kernel", 0),
        swap=number(read("memory.swap.current")),
        peak=number(read("memory.peak")),
        failures=events.get("max", 0),
        active_file=memory.get("active_file", 0),
        inactive_file=inactive,
        page_faults=faults,
        major_faults=major,
        own_page_faults=faults,
        own_major_faults=major,
        oom_kills=events.get("oom_kill", 0),
        threads=number(read("pids.current")),
        threads_max=number(read("pids.max")),
        shares=shares_of(number(read("cpu.weight"))),
        period=number(period) or DEFAULT_PERIOD,
        quota=number(quota),
        memory_limit=_limit(read("memory.max")),
        swap_limit=_limit(read("memory.swap.max")),
        reservation=_limit(read("memory.high")),
        devices=devices_v2(read("io.stat")),
        pressure=dict(_pressures(read)),
    )


def flat(text: str) -> dict[str, int]:
    """Lines of `key number`; others are passed over."""
    found = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if value.strip().isdecimal():
            found[key] = int(value)
    return found


def number(text: str) -> int:
    """0 for `max` and for nothing."""
    text = text.strip()
    return int(text) if text.removeprefix("-").isdecimal() else 0


def _limit(text: str) -> int:
    found = number(text)
    return found if 0 < found < UNLIMITED else 0


def shares_of(weight: int) -> int:
    """cpu.shares that a cpu.weight was made of."""
    return 2 + (weight - 1) * 262142 // 9999 if weight else 0


def devices_v1(volume: str, count: str) -> tuple[Device, ...]:
    """Of `blkio.throttle.io_service_bytes` and `io_serviced`: lines of `MAJOR:MINOR OPERATION NUMBER`."""
    found: dict[str, dict[str, int]] = {}
    for text, unit in ((volume, "bytes"), (count, "count")):
        for line in text.splitlines():
            words = line.split()
            if len(words) == 3 and words[1] in ("Read", "Write") and words[2].isdecimal():
                found.setdefault(words[0], {})[f"{words[1]} {unit}"] = int(words[2])
    return tuple(
        Device(
            *_number_of(device),
            read_bytes=values.get("Read bytes", 0),
            write_bytes=values.get("Write bytes", 0),
            reads=values.get("Read count", 0),
            writes=values.get("Write count", 0),
        )
        for device, values in found.items()
    )


def devices_v2(text: str) -> tuple[Device, ...]:
    """Of `io.stat`: lines of `MAJOR:MINOR rbytes=1 wbytes=2 rios=3 wios=4 ...`."""
    found = []
    for device, *words in filter(None, map(str.split, text.splitlines())):
        values = {key: number(value) for key, _, value in (word.partition("=") for word in words)}
        if values and ":" in device:
            names = ("rbytes", "wbytes", "rios", "wios")
            found.append(Device(*_number_of(device), *(values.get(name, 0) for name in names)))
    return tuple(found)


def _number_of(device: str) -> tuple[int, int]:
    major, _, minor = device.partition(":")
    return number(major), number(minor)


def _pressures(read: Read) -> Iterator[tuple[str, Pressure]]:
    for resource in ("cpu", "memory", "io"):
        found = pressure(read(f"{resource}.pressure"))
        if found is not None:
            yield resource, found


def pressure(text: str) -> Pressure | None:
    """Of a `*.pressure` file: lines of `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`."""
    found: dict[str, tuple[int, float, float, float]] = {}
    for kind, *words in filter(None, map(str.split, text.splitlines())):
        values = dict(word.split("=", 1) for word in words if "=" in word)
        try:
            averages = (float(values["avg10"]), float(values["avg60"]), float(values["avg300"]))
            found[kind] = (int(values["total"]), *averages)
        except (KeyError, ValueError):
            continue
    return Pressure(**{kind: found[kind] for kind in ("some", "full") if kind in found}) if found else None
