"""Translation between a VPC's addresses and those that stand for them on the host."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from twinplane import edge

ONE = edge.Slice("vpc-1", IPv4Network("192.168.0.0/16"), IPv4Network("100.70.0.0/16"))
SAME_ADDRESSES = edge.Slice("vpc-2", IPv4Network("192.168.0.0/16"), IPv4Network("100.71.0.0/16"))


@given(st.integers(0, 2**16 - 1))
def test_each_address_of_a_vpc_has_one_of_the_host(offset: int) -> None:
    address = ONE.cidr[offset]
    assert ONE.to_host(address) in ONE.host
    assert ONE.to_vpc(ONE.to_host(address)) == address


def test_the_file_is_read_again_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "edges.json"
    edges = edge.Edges(path)
    assert edges.to_host("vpc-1", "192.168.3.7") is None
    path.write_text(edge.dump([ONE]))
    assert edges.to_host("vpc-1", "192.168.3.7") == "100.70.3.7"
    staged = tmp_path / "staged"
    staged.write_text(edge.dump([SAME_ADDRESSES]))
    staged.replace(path)
    assert edges.to_host("vpc-1", "192.168.3.7") is None
    assert edges.to_host("vpc-2", "192.168.3.7") == "100.71.3.7"
    path.unlink()
    assert edges.to_host("vpc-2", "192.168.3.7") is None


def test_an_edge_address_names_vpc_and_address() -> None:
    slices = edge.parse(edge.dump([ONE, SAME_ADDRESSES]))
    assert {s.vpc_id: str(s.to_vpc(IPv4Address(s.host[5]))) for s in slices} == {
        "vpc-1": "192.168.0.5",
        "vpc-2": "192.168.0.5",
    }


def test_what_is_no_address_of_a_vpc_has_none(tmp_path: Path) -> None:
    path = tmp_path / "edges.json"
    path.write_text(edge.dump([ONE]))
    edges = edge.Edges(path)
    assert edges.to_host("vpc-1", "10.0.0.1") is None
    assert edges.to_host("vpc-1", "db.example.com") is None
    assert edges.to_host("vpc-2", "192.168.0.1") is None
    assert edges.to_vpc("127.0.0.1") is None
    assert edges.to_vpc("100.70.0.9") == ("vpc-1", "192.168.0.9")
