"""ipamd's decisions: warm targets, limits, and that they come to rest whatever pods come and go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from twinplane.dataplane.network.cni.pool import (
    Assign,
    Attach,
    Detach,
    Interface,
    Limits,
    Owner,
    Pool,
    Step,
    Unassign,
    plan,
)
from twinplane.dataplane.network.cni.settings import Settings

LIMITS = Limits(3, 10, 110)


def owner(name: str) -> Owner:
    return Owner(name, "default", name, f"eni{name}", "02:00:00:00:00:01")


class World:
    """A pool, and an EC2 that does what the plan says, as far as a subnet of `size` goes."""

    def __init__(self, settings: Settings, limits: Limits, size: int = 10_000) -> None:
        self.settings, self.limits, self.size = settings, limits, size
        self.pool = Pool({"eni-0": Interface("eni-0", 0, "", "10.0.0.1")})
        self.now = 1000.0
        self.number = 1
        self.steps: list[Step] = []

    def fresh(self, count: int) -> dict[str, Owner | None]:
        given = min(count, self.size)
        self.size -= given
        self.number += given
        return {f"10.0.{number // 256}.{number % 256}": None for number in range(self.number - given, self.number)}

    def settle(self) -> None:
        for _ in range(200):
            step = plan(self.pool, self.settings, self.limits, self.now)
            if step is None or not self.apply(step):
                return
            self.steps.append(step)
        raise AssertionError(f"no rest: {self.steps[-6:]}")

    def apply(self, step: Step) -> bool:
        match step:
            case Assign():
                interface = self.pool.interfaces[step.interface]
                assert step.count > 0
                assert len(interface.addresses) + step.count <= self.limits.secondary
                got = self.fresh(step.count)
                interface.addresses |= got
                return bool(got)
            case Attach():
                assert len(self.pool.interfaces) < min(self.limits.interfaces, self.settings.max_eni or 99)
                assert all(item.device != step.device for item in self.pool.interfaces.values())
                assert 0 < step.count <= self.limits.secondary
                if self.size < 2:
                    return False
                made = Interface(f"eni-{self.number}", step.device, "", "", "", self.now, self.fresh(step.count))
                self.pool.learn(made)
            case Unassign():
                interface = self.pool.interfaces[step.interface]
                assert all(interface.addresses[address] is None for address in step.addresses)
                assert not set(step.addresses) & self.pool.cooling.keys()
                self.size += len(step.addresses)
                self.pool.drop(interface, step.addresses)
            case Detach():
                gone = self.pool.interfaces.pop(step.interface)
                assert gone.device != 0
                assert not any(gone.addresses.values())
                self.size += len(gone.addresses)
        return True


def test_the_first_interface_is_filled_and_one_more_is_kept_warm() -> None:
    world = World(Settings(), LIMITS)
    world.settle()
    assert world.steps == [Assign("eni-0", 9)]
    assert world.pool.take(owner("a")) is not None
    world.settle()
    assert world.steps[1:] == [Attach(1, 9)]


def test_a_warm_interface_is_given_back_after_a_minute() -> None:
    world = World(Settings(), LIMITS)
    world.settle()
    taken = world.pool.take(owner("a"))
    assert taken is not None
    world.settle()
    world.pool.release(taken[0], world.now + 30)
    world.settle()
    assert len(world.pool.interfaces) == 2
    world.now += 61
    world.pool.thaw(world.now)
    world.settle()
    assert [type(step) for step in world.steps] == [Assign, Attach, Detach]


def test_warm_and_minimum_targets() -> None:
    world = World(Settings(warm_ip_target=2, minimum_ip_target=5), LIMITS)
    world.settle()
    assert world.steps == [Assign("eni-0", 5)]
    for name in "abcd":
        assert world.pool.take(owner(name)) is not None
    world.settle()
    assert world.steps[1:] == [Assign("eni-0", 1)]


def test_a_released_address_cools_down() -> None:
    world = World(Settings(warm_ip_target=1), Limits(1, 2, 110))
    world.settle()
    taken = world.pool.take(owner("a"))
    assert taken is not None
    world.pool.release(taken[0], world.now + 30)
    assert world.pool.take(owner("b")) is None
    world.pool.thaw(world.now + 30)
    assert world.pool.take(owner("b")) is not None


def test_after_a_restart_of_the_node_each_pod_gets_its_own_address() -> None:
    world = World(Settings(warm_ip_target=1), LIMITS)
    world.settle()
    pods = [owner(name) for name in "abcd"]
    before = {}
    for pod in pods:
        taken = world.pool.take(pod)
        assert taken is not None
        before[pod.pod] = taken[0]
        world.settle()
    for address in before.values():
        world.pool.keep(address, owner(next(pod for pod, at in before.items() if at == address)), world.now + 300)
    world.settle()
    assert set(before.values()) <= world.pool.interfaces["eni-0"].addresses.keys()
    assert world.pool.take(owner("new")) is not None
    after = {pod.pod: taken[0] for pod in reversed(pods) if (taken := world.pool.take(pod)) is not None}
    assert after == before
    assert not world.pool.kept


def test_what_is_kept_is_the_last_resort_and_free_in_the_end() -> None:
    world = World(Settings(), LIMITS, size=1)
    world.settle()
    first = world.pool.take(owner("a"))
    assert first is not None
    world.pool.keep(first[0], owner("a"), world.now + 300)
    assert world.pool.take(owner("b")) == first
    world.pool.keep(first[0], owner("b"), world.now + 300)
    world.pool.thaw(world.now + 300)
    assert world.pool.free(first[1]) == [first[0]]


def test_no_more_addresses_than_pods() -> None:
    world = World(Settings(), Limits(3, 10, 5))
    world.settle()
    for name in "abcde":
        assert world.pool.take(owner(name)) is not None
    world.settle()
    assert len(world.pool.interfaces) == 1


@given(
    settings_=st.builds(
        Settings,
        warm_eni_target=st.integers(0, 2),
        warm_ip_target=st.none() | st.integers(1, 12),
        minimum_ip_target=st.none() | st.integers(1, 20),
        max_eni=st.none() | st.integers(1, 3),
    ),
    limits=st.builds(Limits, st.integers(1, 4), st.integers(2, 8), st.integers(4, 40)),
    size=st.integers(0, 40),
    moves=st.lists(st.tuples(st.sampled_from(["add", "delete", "wait"]), st.integers(0, 99)), max_size=40),
)
def test_every_pod_gets_an_address_while_there_are_some(
    settings_: Settings, limits: Limits, size: int, moves: list[tuple[str, int]]
) -> None:
    world = World(settings_, limits, size)
    world.settle()
    pods: dict[str, str] = {}
    for number, (move, which) in enumerate(moves):
        if move == "add":
            taken = world.pool.take(owner(str(number)))
            if taken is None:
                world.pool.waiting = 1
                world.settle()
                world.pool.waiting = 0
                taken = world.pool.take(owner(str(number)))
            if taken is None:
                rooms = min(limits.interfaces, settings_.max_eni or 99) * limits.secondary
                full = len(pods) + len(world.pool.cooling) >= min(rooms, max(limits.max_pods, len(pods)))
                assert full or world.size < 2 or len(pods) >= limits.max_pods
            else:
                assert taken[0] not in pods.values()
                pods[str(number)] = taken[0]
        elif move == "delete" and pods:
            gone = sorted(pods)[which % len(pods)]
            world.pool.release(pods.pop(gone), world.now + 30)
        else:
            world.now += which
            world.pool.thaw(world.now)
        world.settle()
        assert {address for address, _ in world.pool.owned().items()} == set(pods.values())
