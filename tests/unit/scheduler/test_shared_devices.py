"""Devices that several claims share: what each takes of the capacity, and that nothing is ever given twice."""

from __future__ import annotations

from collections import Counter, defaultdict
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.scheduler.builders import node
from tests.unit.scheduler.device_builders import DRIVER, device, device_claim, device_class, device_slice, request
from tests.unit.scheduler.test_devices import chosen, inventory
from twinplane.controlplane.scheduler.devices.allocation import AllocationFailed, Patience, allocate
from twinplane.controlplane.scheduler.devices.facts import DeviceClaim, Json, claim_of
from twinplane.controlplane.scheduler.devices.inventory import DevicePlan, Inventory
from twinplane.controlplane.scheduler.node import node_facts
from twinplane.kubeclient import quantity
from twinplane.kubeclient.contract import Object

RANGE = {"default": "4Gi", "validRange": {"min": "2Gi", "max": "16Gi", "step": "2Gi"}}
CHOICES = {"default": "1Gi", "validValues": ["1Gi", "4Gi", "8Gi"]}
ZERO = {"default": "0", "validValues": ["0"]}


def shared(name: str, memory: str = "40Gi", policy: Object | None = None, **fields: Any) -> dict[str, Any]:
    made = device(name, memory, allowMultipleAllocations=True, **fields)
    if policy is not None:
        made["capacity"]["memory"]["requestPolicy"] = policy
    return made


def wanting(amount: str = "", name: str = "gpu", **fields: Any) -> dict[str, Any]:
    capacity: dict[str, Any] = {"capacity": {"requests": {"memory": amount}}} if amount else {}
    return request(name, **capacity, **fields)


def give(claim: Object, found: Inventory) -> list[dict[str, Any]] | None:
    """The results for a claim, which has them from then on."""
    parsed = claim_of(claim)
    allocations = allocate([parsed], node_facts(node("a")), found, Patience())
    if allocations is None:
        return None
    found.assume(DevicePlan("a", (parsed.key,), allocations))
    return list(allocations[parsed.key]["devices"]["results"])


@pytest.mark.parametrize(
    ("policy", "asked", "taken"),
    [
        (None, "", "40Gi"),
        (None, "10Gi", "10Gi"),
        (None, "41Gi", None),
        (RANGE, "", "4Gi"),
        (RANGE, "1Gi", "2Gi"),
        (RANGE, "5Gi", "6Gi"),
        (RANGE, "17Gi", None),
        (CHOICES, "2Gi", "4Gi"),
        (CHOICES, "9Gi", None),
        (ZERO, "", "0"),
        (ZERO, "1Gi", None),
    ],
)
def test_what_a_request_takes(policy: Object | None, asked: str, taken: str | None) -> None:
    found = inventory(device_slice("s", shared("0", policy=policy), node="a"))
    results = give(device_claim("c", wanting(asked)), found)
    if taken is None:
        assert results is None
    else:
        assert results is not None
        assert results[0]["consumedCapacity"] == {"memory": taken}
        assert len(results[0]["shareID"]) == 36


def test_claims_share_until_the_capacity_is_used_up() -> None:
    found = inventory(device_slice("s", shared("0", "10Gi"), shared("1", "10Gi"), node="a"))
    results = [give(device_claim(f"c{number}", wanting("4Gi")), found) for number in range(5)]
    assert [entry and entry[0]["device"] for entry in results] == ["0", "0", "1", "1", None]
    assert len({entry[0]["shareID"] for entry in results if entry}) == 4
    # Without words it is all of it.
    assert give(device_claim("rest", wanting()), found) is None


def test_requests_of_a_claim_share_too_but_one_request_never_has_a_device_twice() -> None:
    found = inventory(device_slice("s", shared("0", "10Gi"), node="a"))
    assert chosen(device_claim("c", wanting("4Gi", "one"), wanting("4Gi", "two")), found) == ["0", "0"]
    assert chosen(device_claim("c", wanting("1Gi", count=2)), found) is None
    apart: list[dict[str, Any]] = [{"distinctAttribute": f"{DRIVER}/model"}]
    assert chosen(device_claim("c", wanting("4Gi", "one"), wanting("4Gi", "two"), constraints=apart), found) is None


def test_what_is_given_back_may_be_had_again() -> None:
    found = inventory(device_slice("s", shared("0", "10Gi"), node="a"))
    first = device_claim("c", wanting("8Gi"))
    results = give(first, found)
    written = claim_of({**first, "status": {"allocation": {"devices": {"results": results}}}})
    found.set_claim(written.key, written)
    assert chosen(device_claim("d", wanting("4Gi")), found) is None
    found.set_claim(written.key, None)
    assert chosen(device_claim("d", wanting("10Gi")), found) == ["0"]


def test_capacity_is_asked_of_devices_that_are_not_shared() -> None:
    found = inventory(device_slice("s", device("small", "4Gi"), device("big", "8Gi"), {"name": "none"}, node="a"))
    assert chosen(device_claim("c", wanting("6Gi")), found) == ["big"]
    assert chosen(device_claim("c", wanting("6Gi", allocationMode="All")), found) == ["big"]
    results = give(device_claim("c", wanting("6Gi")), found)
    assert results is not None
    assert results[0].keys() == {"request", "driver", "pool", "device"}
    assert chosen(device_claim("d", wanting("1Gi")), found) == ["small"]


def test_a_device_that_is_no_longer_shared_waits_for_those_who_share_it() -> None:
    found = inventory(device_slice("s", shared("0"), node="a"))
    assert give(device_claim("c", wanting("1Gi")), found)
    found.set_slice("s", device_slice("s", device("0"), node="a")["spec"])
    assert chosen(device_claim("d"), found) is None
    found.set_slice("s", device_slice("s", shared("0"), node="a")["spec"])
    assert chosen(device_claim("d", wanting("1Gi")), found) == ["0"]


def test_classes_may_leave_shared_devices_out() -> None:
    only = device_class("gpu", "device.allowMultipleAllocations == false")
    found = inventory(device_slice("s", shared("0"), device("1"), node="a"), classes=(only,))
    assert chosen(device_claim("c"), found) == ["1"]


def test_shares_of_a_partition_consume_its_counters_once() -> None:
    def part(name: str) -> dict[str, Any]:
        counters = {"counterSet": "card", "counters": {"slots": {"value": "1"}}}
        return shared(name, "10Gi", consumesCounters=[counters])

    sets = [{"name": "card", "counters": {"slots": {"value": "1"}}}]
    counters = device_slice("s1", node="a", count=2, sharedCounters=sets)
    found = inventory(counters, device_slice("s2", part("0"), part("1"), node="a", count=2))
    results = [give(device_claim(f"c{number}", wanting("4Gi")), found) for number in range(3)]
    assert [entry and entry[0]["device"] for entry in results] == ["0", "0", None]


def test_what_a_choice_took_is_free_when_the_search_goes_back() -> None:
    """The first device would do for `one`, but takes the counter that `two` needs."""
    part: list[dict[str, Any]] = [{"counterSet": "card", "counters": {"slots": {"value": "1"}}}]
    first = shared("0", "10Gi", model="any", consumesCounters=part)
    last = device("2", model="counted", consumesCounters=part)
    sets = [{"name": "card", "counters": {"slots": {"value": "1"}}}]
    counters = device_slice("s1", node="a", count=2, sharedCounters=sets)
    devices = device_slice("s2", first, device("1", "10Gi", model="any"), last, node="a", count=2)
    model = "device.attributes['gpu.example.com'].model"
    requests = request("one", f"{model} == 'any'"), request("two", f"{model} == 'counted'")
    assert chosen(device_claim("c", *requests), inventory(counters, devices)) == ["1", "2"]


# Nothing is given twice ---------------------------------------------------------------------------------------------

POLICIES = (None, RANGE, CHOICES)
devices = st.fixed_dictionaries(
    {
        "shared": st.booleans(),
        "size": st.integers(1, 20),
        "policy": st.sampled_from(POLICIES),
        "slots": st.integers(0, 3),
    }
)
requests = st.fixed_dictionaries(
    {
        "asked": st.sampled_from(["", "1Gi", "3Gi", "7Gi", "20Gi"]),
        "count": st.integers(1, 3),
        "all": st.booleans(),
        "admin": st.integers(0, 9).map(lambda drawn: drawn == 0),
    }
)
steps = st.tuples(st.lists(requests, min_size=1, max_size=3), st.integers(0, 5))


def published(number: int, drawn: dict[str, Any]) -> dict[str, Any]:
    size = f"{drawn['size']}Gi"
    fields: dict[str, Any] = {}
    if drawn["slots"]:
        counters = {"slots": {"value": str(drawn["slots"])}}
        fields["consumesCounters"] = [{"counterSet": "card", "counters": counters}]
    made = shared(str(number), size, drawn["policy"], **fields)
    made["allowMultipleAllocations"] = drawn["shared"]
    return made


def asked(number: int, drawn: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {"allocationMode": "All"} if drawn["all"] else {"count": drawn["count"]}
    return wanting(drawn["asked"], f"r{number}", **fields, **({"adminAccess": True} if drawn["admin"] else {}))


def check(held: dict[str, Json], bodies: dict[str, dict[str, Any]], slots: int) -> None:
    """What all claims have together is there."""
    alone: Counter[str] = Counter()
    taken: defaultdict[str, Fraction] = defaultdict(Fraction)
    shares: list[str] = []
    used: set[str] = set()
    for allocation in held.values():
        for result in allocation["devices"]["results"]:
            if result.get("adminAccess"):
                continue
            name = result["device"]
            used.add(name)
            if "shareID" in result:
                shares.append(result["shareID"])
                taken[name] += quantity.parse(result["consumedCapacity"]["memory"])
            else:
                alone[name] += 1
    assert all(count == 1 for count in alone.values())
    assert not alone.keys() & taken.keys()
    assert len(set(shares)) == len(shares)
    assert all(amount <= quantity.parse(bodies[name]["capacity"]["memory"]["value"]) for name, amount in taken.items())
    needs = [bodies[name].get("consumesCounters") or [] for name in used]
    assert sum(int(entry["counters"]["slots"]["value"]) for need in needs for entry in need) <= slots


@given(drawn=st.lists(devices, max_size=5), slots=st.integers(0, 6), history=st.lists(steps, max_size=8))
@settings(max_examples=100, deadline=None)
def test_nothing_is_given_twice(
    drawn: list[dict[str, Any]], slots: int, history: list[tuple[list[dict[str, Any]], int]]
) -> None:
    """Claims come and go; each that comes is decided, and half of the decisions are written at once."""
    bodies = {str(number): published(number, entry) for number, entry in enumerate(drawn)}
    sets = [{"name": "card", "counters": {"slots": {"value": str(slots)}}}]
    counters = device_slice("s1", node="a", count=2, sharedCounters=sets)
    found = inventory(counters, device_slice("s2", *bodies.values(), node="a", count=2))
    held: dict[str, Json] = {}
    for number, (wanted, leaving) in enumerate(history):
        body = device_claim(f"c{number}", *(asked(at, entry) for at, entry in enumerate(wanted)))
        claim = claim_of(body)
        found.set_claim(claim.key, claim)
        try:
            allocations = allocate([claim], node_facts(node("a")), found, Patience())
        except AllocationFailed:
            allocations = None
        if allocations is not None:
            held |= allocations
            found.assume(DevicePlan("a", (claim.key,), allocations))
            if number % 2:
                found.set_claim(claim.key, written(body, allocations[claim.key]))
        check(held, bodies, slots)
        gone = f"default/c{leaving}"
        if gone in held and leaving < number:
            del held[gone]
            found.set_claim(gone, None)


def written(body: Object, allocation: Json) -> DeviceClaim:
    return claim_of({**body, "status": {"allocation": allocation}})
