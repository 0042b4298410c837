from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinplane.cloud.network.addresses import InsufficientFreeAddressesInSubnet, allocate, capacity, is_usable, usable
from twinplane.cloud.network.max_pods import address_limit, max_pods

CIDR = "10.0.1.0/28"


def test_the_first_four_and_the_last_address_are_reserved() -> None:
    assert allocate(CIDR, set(), 11) == [f"10.0.1.{host}" for host in range(4, 15)]
    assert capacity(CIDR) == 11
    assert not is_usable(CIDR, "10.0.1.3")
    assert not is_usable(CIDR, "10.0.1.15")


def test_a_freed_address_comes_back_last() -> None:
    assert allocate(CIDR, {"10.0.1.4"}, 1, after="10.0.1.5") == ["10.0.1.6"]
    assert allocate(CIDR, {"10.0.1.14"}, 2, after="10.0.1.13") == ["10.0.1.4", "10.0.1.5"]


def test_all_or_nothing_when_the_subnet_is_exhausted() -> None:
    with pytest.raises(InsufficientFreeAddressesInSubnet, match="does not have enough free addresses"):
        allocate(CIDR, {"10.0.1.4"}, 11)


@given(
    prefix=st.integers(20, 30),
    used=st.sets(st.integers(0, 63)),
    count=st.integers(0, 40),
    after=st.one_of(st.none(), st.integers(0, 63)),
)
def test_what_is_allocated_is_free_distinct_and_usable(
    prefix: int, used: set[int], count: int, after: int | None
) -> None:
    network = ipaddress.IPv4Network(f"10.1.0.0/{prefix}")
    first, last = usable(str(network))
    hosts = {str(ipaddress.IPv4Address(first + offset)) for offset in used if first + offset <= last}
    start = str(ipaddress.IPv4Address(first + after)) if after is not None and first + after <= last else ""
    free = capacity(str(network)) - len(hosts)
    if count > free:
        with pytest.raises(InsufficientFreeAddressesInSubnet):
            allocate(str(network), hosts, count, start)
        return
    found = allocate(str(network), hosts, count, start)
    assert len(found) == len(set(found)) == count
    assert hosts.isdisjoint(found)
    assert all(is_usable(str(network), address) for address in found)


@pytest.mark.parametrize(
    ("interfaces", "addresses", "vcpus", "pods"),
    [(3, 6, 2, 17), (3, 10, 2, 29), (4, 15, 8, 58), (8, 30, 16, 110), (15, 50, 96, 250), (2, 2, 2, 4)],
)
def test_max_pods_is_the_table_capped(interfaces: int, addresses: int, vcpus: int, pods: int) -> None:
    assert max_pods(interfaces, addresses, vcpus) == pods
    assert address_limit(3, 10) == 29
