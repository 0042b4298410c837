"""Host ports as runtimes write them into a CNI request."""

from __future__ import annotations

from twinplane.dataplane.network.cni.ipamd import _ports


def test_keys_count_in_any_case() -> None:
    conventional = {"hostPort": 8081, "containerPort": 80, "protocol": "tcp", "hostIP": ""}
    of_containerd = {"HostPort": 8081, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}
    assert _ports([conventional]) == _ports([of_containerd]) == (("tcp", "", 8081, 80),)


def test_ports_without_a_host_port_are_none() -> None:
    assert _ports([{"containerPort": 80, "protocol": "udp"}]) == ()
