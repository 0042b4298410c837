from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from twinplane.cloud.aws.scaling import spread, termination_order

ZONES = ["a", "b", "c"]


def test_new_instances_go_where_the_fewest_are() -> None:
    assert spread(ZONES, [], 4) == ["a", "b", "c", "a"]
    assert spread(ZONES, ["a", "a", "b"], 3) == ["c", "b", "c"]
    assert spread([], [], 2) == []


def test_the_oldest_of_the_fullest_zone_goes_first() -> None:
    instances = [("i-1", "a", 1), ("i-2", "b", 2), ("i-3", "b", 3), ("i-4", "c", 0)]
    assert termination_order(instances) == ["i-2", "i-4", "i-1", "i-3"]


@given(present=st.lists(st.sampled_from(ZONES), max_size=20), count=st.integers(0, 20))
def test_spreading_never_makes_the_difference_larger(present: list[str], count: int) -> None:
    before = Counter(dict.fromkeys(ZONES, 0)) + Counter(present)
    after = Counter({zone: before[zone] for zone in ZONES})
    after.update(spread(ZONES, present, count))
    assert sum(after.values()) == len(present) + count
    populations = [before[zone] for zone in ZONES]
    assert max(after.values()) - min(after[zone] for zone in ZONES) <= max(max(populations) - min(populations), 1)


@given(zones=st.lists(st.sampled_from(ZONES), max_size=20))
def test_termination_keeps_zones_balanced(zones: list[str]) -> None:
    instances = [(f"i-{index}", zone, index) for index, zone in enumerate(zones)]
    order = termination_order(instances)
    assert sorted(order) == sorted(identifier for identifier, _, _ in instances)
    zone_of = {identifier: zone for identifier, zone, _ in instances}
    left = Counter(zones)
    for identifier in order:
        assert left[zone_of[identifier]] == max(left.values())
        left[zone_of[identifier]] -= 1
