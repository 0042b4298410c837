"""Slices of 100.64.0.0/10: no two VPCs of this host share one, whoever asks in whatever order."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinplane.cloud.network.fabric.slices import PoolExhausted, Slices, allocate, first_free
from twinplane.edge import FILE, POOL, Edges

vpcs = st.lists(st.tuples(st.sampled_from([f"vpc-{at}" for at in range(8)]), st.integers(16, 28)), max_size=12)


def networks(lengths: list[tuple[str, int]]) -> list[tuple[str, str]]:
    return [(vpc, f"10.{at}.0.0/{length}") for at, (vpc, length) in enumerate(lengths)]


@given(vpcs, vpcs, st.lists(st.integers(12, 28), max_size=4))
def test_slices_are_apart_and_stay(
    first: list[tuple[str, int]], second: list[tuple[str, int]], taken: list[int]
) -> None:
    others: list[IPv4Network] = []
    for length in taken:
        others.append(first_free(length, others))
    held = allocate(networks(first), {}, others)
    check_apart([item.host for item in held] + others)
    before = {(item.vpc_id, str(item.cidr)): item.host for item in held}
    again = allocate(networks(first) + networks(second), before, others)
    check_apart([item.host for item in again] + others)
    assert {(item.vpc_id, str(item.cidr)): item.host for item in again}.items() >= before.items()
    for item in again:
        assert item.host.subnet_of(POOL)
        assert item.host.prefixlen == item.cidr.prefixlen


def check_apart(found: list[IPv4Network]) -> None:
    assert all(not one.overlaps(other) for one, other in pairwise(sorted(found)))


def test_a_full_pool_is_said() -> None:
    with pytest.raises(PoolExhausted, match="no /16 of"):
        allocate([(f"vpc-{at}", "10.0.0.0/16") for at in range(65)], {}, [])


def test_regions_of_a_host_share_the_pool(tmp_path: Path) -> None:
    run = tmp_path / "run"
    homes = [tmp_path / name for name in "ab"]
    for home in homes:
        home.mkdir()
    one, other = (Slices(home, run) for home in homes)
    wanted = [("vpc-1", "10.0.0.0/16"), ("vpc-1", "10.1.0.0/20")]
    mine, theirs = one.reserve(wanted), other.reserve(wanted)
    check_apart([item.host for item in mine + theirs])
    assert one.reserve(wanted) == mine
    assert (one.others(), other.others()) == (True, True)
    assert Edges(homes[0] / FILE).to_host("vpc-1", "10.0.3.4") == str(mine[0].host[3 * 256 + 4])
    other.reserve([])
    assert not one.others()
    assert Edges(homes[1] / FILE).slices() == []


def test_two_writers_of_one_region_take_turns(tmp_path: Path) -> None:
    home = tmp_path / "a"
    home.mkdir()

    def write(wanted: list[tuple[str, str]]) -> None:
        slices = Slices(home, tmp_path / "run")
        for _ in range(100):
            slices.reserve(wanted)

    with ThreadPoolExecutor() as writers:
        list(writers.map(write, ([], [("vpc-1", "10.0.0.0/16")], [("vpc-2", "10.0.0.0/16")])))
    assert sorted((home / FILE).parent.iterdir()) == [home / FILE]


def test_a_reboot_keeps_slices_unless_somebody_was_faster(tmp_path: Path) -> None:
    home = tmp_path / "a"
    home.mkdir()
    first = Slices(home, tmp_path / "run")
    first.reserve([("vpc-0", "10.0.0.0/16"), ("vpc-1", "10.0.0.0/16")])
    kept = first.reserve([("vpc-1", "10.0.0.0/16")])
    assert Slices(home, tmp_path / "after").reserve([("vpc-1", "10.0.0.0/16")]) == kept
    (tmp_path / "b").mkdir()
    Slices(tmp_path / "b", tmp_path / "again").reserve([("vpc-0", "10.0.0.0/16"), ("vpc-1", "10.0.0.0/16")])
    assert Slices(home, tmp_path / "again").reserve([("vpc-1", "10.0.0.0/16")]) != kept


def test_what_a_deleted_region_held_is_free(tmp_path: Path) -> None:
    home, gone = tmp_path / "a", tmp_path / "gone"
    home.mkdir()
    gone.mkdir()
    held = Slices(gone, tmp_path / "run").reserve([("vpc-1", "10.0.0.0/16")])
    for path in sorted(gone.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    gone.rmdir()
    own = Slices(home, tmp_path / "run").reserve([("vpc-2", "10.0.0.0/16")])
    assert own[0].host == held[0].host
    register = json.loads((tmp_path / "run/slices.json").read_text())
    assert [entry["owner"] for entry in register.values()] == [str(home)]


def test_networks_that_the_host_uses_itself_are_left_alone(tmp_path: Path) -> None:
    used = IPv4Network("100.64.7.0/24")
    found = Slices(tmp_path, tmp_path / "run").reserve([("vpc-1", "10.0.0.0/16")], [used])
    assert not found[0].host.overlaps(used)
