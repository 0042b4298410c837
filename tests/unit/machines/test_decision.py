"""The plan for machines: everything that is up runs at its latest boot, and only that."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from twinplane.cloud.contract import Instance
from twinplane.cloud.machines.decision import GONE, UP, Plan, decide

STATES = ("pending", "running", "shutting-down", "terminated", "stopping", "stopped")


def instance(name: str, state: str = "running", *, runtime: str = "containerd", boots: int = 0) -> Instance:
    made = Instance(name, state, "m5.large", "ami-1", "10.0.0.4", "ip", "vpc", "subnet", "us-west-2a", "eni", 0.0)
    return replace(made, runtime=runtime, boots=boots)


def test_only_instances_with_the_runtime_are_machines() -> None:
    assert decide([instance("i-1", runtime=""), instance("i-2", runtime="simulated")], {}, []) == Plan()
    found = instance("i-3", "pending")
    assert decide([found], {}, []) == Plan(start=(found,))


def test_a_stopped_instance_keeps_its_disk_and_a_terminated_one_does_not() -> None:
    assert decide([instance("i-1", "stopped")], {"i-1": 0}, ["i-1"]) == Plan(stop=("i-1",))
    assert decide([instance("i-1", "stopped")], {}, ["i-1"]) == Plan()
    assert decide([instance("i-1", "terminated")], {"i-1": 0}, ["i-1"]) == Plan(stop=("i-1",))
    assert decide([instance("i-1", "terminated")], {}, ["i-1"]) == Plan(forget=("i-1",))


def test_a_reboot_stops_and_then_starts() -> None:
    rebooted = instance("i-1", boots=2)
    assert decide([rebooted], {"i-1": 1}, ["i-1"]) == Plan(stop=("i-1",))
    assert decide([rebooted], {}, ["i-1"]) == Plan(start=(rebooted,))
    assert decide([rebooted], {"i-1": 2}, ["i-1"]) == Plan()


def test_what_the_account_does_not_know_goes() -> None:
    assert decide([], {"i-1": 0}, ["i-1", "i-2"]) == Plan(stop=("i-1",), forget=("i-2",))


machines = st.dictionaries(
    st.sampled_from(["i-1", "i-2", "i-3"]),
    st.tuples(st.sampled_from(STATES), st.sampled_from(["containerd", ""]), st.integers(0, 2)),
)
running = st.dictionaries(st.sampled_from(["i-1", "i-2", "i-3", "i-4"]), st.integers(0, 2))


@given(account=machines, now=running, kept=st.sets(st.sampled_from(["i-1", "i-2", "i-3", "i-4"])))
def test_plans_lead_to_what_is_wanted(
    account: dict[str, tuple[str, str, int]], now: dict[str, int], kept: set[str]
) -> None:
    instances = [
        instance(name, state, runtime=runtime, boots=boots) for name, (state, runtime, boots) in account.items()
    ]
    now, kept = dict(now), kept | set(now)
    for _ in range(3):
        plan = decide(instances, now, kept)
        assert not set(plan.forget) & (set(now) | {found.instance_id for found in plan.start})
        kept -= set(plan.forget)
        for name in plan.stop:
            del now[name]
        for found in plan.start:
            now[found.instance_id] = found.boots
            kept.add(found.instance_id)
    assert decide(instances, now, kept) == Plan()
    real = [found for found in instances if found.runtime == "containerd"]
    assert now == {found.instance_id: found.boots for found in real if found.state in UP}
    assert kept <= {found.instance_id for found in real if found.state not in GONE}
