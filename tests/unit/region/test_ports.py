"""Ports of a region's processes: free when they are chosen, and out of the way of everybody else."""

from __future__ import annotations

import socket
from pathlib import Path
from random import Random

import pytest

from twinplane.region import ports
from twinplane.region.ports import free_ports, kept_ports

HOST = "127.0.0.1"


def test_ports_are_out_of_the_way_of_outgoing_connections() -> None:
    found = free_ports(5, HOST)
    assert len(set(found)) == 5
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(found) < min(first, 30_000)


def test_what_is_taken_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = sorted(free_ports(2, HOST))
    monkeypatch.setattr(ports, "RANGE", range(first, second + 1, second - first))
    with socket.create_server((HOST, first)):
        for seed in range(5):
            assert free_ports(1, HOST, Random(seed)) == [second]
        with pytest.raises(OSError, match="no 2 free ports"):
            free_ports(2, HOST)


def test_ports_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    first = kept_ports(path, ["a", "b"], HOST)
    assert kept_ports(path, ["b", "a"], HOST) == first
    more = kept_ports(path, ["a", "b", "c"], HOST)
    assert more.items() > first.items()
    assert len(set(more.values())) == 3
