"""Files of /proc as numbers. Pure."""

from __future__ import annotations

from typing import NamedTuple

from twinplane.dataplane.kubelet.stats.cgroup_files import number

IGNORED_INTERFACES = ("lo", "veth", "docker", "nerdctl")
"""Prefixes that cAdvisor leaves out."""


class Interface(NamedTuple):
    name: str
    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


def interfaces(text: str) -> tuple[Interface, ...]:
    """Of `/proc/PID/net/dev`, whose two first lines are a heading."""
    found = []
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        values = [number(word) for word in rest.split()]
        if len(values) >= 16 and not name.strip().startswith(IGNORED_INTERFACES):
            found.append(Interface(name.strip(), *values[:4], *values[8:12]))
    return tuple(found)


class Disk(NamedTuple):
    """A line of `/proc/diskstats`: sectors are of 512 bytes, times in milliseconds."""

    reads: int
    reads_merged: int
    sectors_read: int
    read_time: int
    writes: int
    writes_merged: int
    sectors_written: int
    write_time: int
    in_progress: int
    io_time: int
    weighted_io_time: int


def disks(text: str) -> dict[tuple[int, int], Disk]:
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 14:
            found[(number(words[0]), number(words[1]))] = Disk(*(number(word) for word in words[3:14]))
    return found


def open_files_limit(text: str) -> int | None:
    """The soft limit of `/proc/PID/limits`; -1 for unlimited."""
    for line in text.splitlines():
        if line.startswith("Max open files"):
            soft = line.split()[3:4]
            return -1 if soft == ["unlimited"] else number("".join(soft))
    return None
