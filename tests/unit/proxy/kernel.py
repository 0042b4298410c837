"""What nftables would do with a packet: the table as data, and an interpreter of the few statements that are used.

It checks transactions as the kernel does (nothing added twice, nothing deleted that is not there, no reference to what
is gone), and follows every draw, so that the outcome of a packet is the set of all that may become of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from twinplane.dataplane.network.nftables import Chain, Change, Set


class Packet(NamedTuple):
    source: str
    destination: str
    protocol: str
    port: int
    from_node: bool = False


class Outcome(NamedTuple):
    verdict: str
    """dnat, pass, drop or reject."""
    target: str = ""
    masquerade: bool = False


@dataclass(frozen=True)
class _State:
    packet: Packet
    masquerade: bool = False


@dataclass
class Kernel:
    chains: dict[str, Chain] = field(default_factory=dict)
    sets: dict[str, Set] = field(default_factory=dict)

    def apply(self, change: Change) -> None:
        for name, item in change.sets.items():
            if item is not None:
                assert name not in self.sets
                self.sets[name] = Set(item.declaration, item.kind)
        for name, chain in change.chains.items():
            if chain is not None:
                assert (name in self.chains) == (name in change.known_chains), name
                self.chains[name] = chain
            else:
                del self.chains[name]
        for name, keys in change.removed.items():
            for key in keys:
                del self.sets[name].elements[key]
        for name, elements in change.added.items():
            assert not elements.keys() & self.sets[name].elements.keys(), name
            self.sets[name].elements |= elements
        for name, item in change.sets.items():
            if item is None:
                del self.sets[name]
        self._check()

    def _check(self) -> None:
        referred = " ".join(rule for chain in self.chains.values() for rule in chain.rules)
        verdicts = " ".join(value for item in self.sets.values() for value in item.elements.values())
        for name in re.findall(r"(?:goto|jump) (\S+?)(?:,|\s|$)", referred + " " + verdicts):
            assert name in self.chains, name
        for name in re.findall(r"@(\S+)", referred):
            assert name in self.sets, name

    # -- packets -------------------------------------------------------------------------------------------------

    def outcomes(self, packet: Packet) -> set[Outcome]:
        """Through the firewall, the choice of an endpoint, and, where there was none, the checks."""
        hooks = (
            ("filter-output-pre-dnat", "nat-output")
            if packet.from_node
            else ("filter-prerouting-pre-dnat", "nat-prerouting")
        )
        found: set[Outcome] = set()
        for first in self._chain(hooks[0], _State(packet)):
            if first.verdict != "pass":
                found.add(first)
                continue
            for second in self._chain(hooks[1], _State(packet)):
                if second.verdict != "pass":
                    found.add(second)
                else:
                    found |= set(self._chain("filter-output" if packet.from_node else "filter-forward", _State(packet)))
        return found

    def _chain(self, name: str, state: _State) -> Iterator[Outcome]:
        """All ways through a chain; `pass` where it ends without a verdict."""
        states = [state]
        for rule in self.chains[name].rules:
            following = []
            for item in states:
                for outcome, after in self._rule(rule, item):
                    if outcome is not None:
                        yield outcome
                    else:
                        following.append(after)
            states = following
        for _ in states:
            yield Outcome("pass")

    def _verdict(self, text: str, state: _State) -> Iterator[tuple[Outcome | None, _State]]:
        word, _, chain = text.partition(" ")
        if word in ("drop", "reject"):
            yield Outcome(word), state
        elif word == "goto":
            for outcome in self._chain(chain, state):
                yield outcome, state
        elif word == "jump":
            for outcome in self._chain(chain, state):
                yield (None if outcome.verdict == "pass" else outcome), state
        else:
            raise AssertionError(text)

    def _rule(self, rule: str, state: _State) -> Iterator[tuple[Outcome | None, _State]]:
        """Matches first, as far as they hold; then the statement that decides."""
        rest: str | None = rule
        while rest:
            for pattern, match in _MATCHES:
                if found := pattern.match(rest):
                    rest = rest[found.end() :] if match(self, found, state.packet) else None
                    break
            else:
                if found := _MASQUERADE.match(rest):
                    state, rest = replace(state, masquerade=True), rest[found.end() :]
                else:
                    yield from self._decided(rest, state)
                    return
        yield None, state

    def _decided(self, rest: str, state: _State) -> Iterator[tuple[Outcome | None, _State]]:
        keys = _keys(state.packet)
        if found := re.match(r"(.*) vmap @(\S+)$", rest):
            verdict = self.sets[found[2]].elements.get(keys[found[1]])
            yield from self._verdict(verdict, state) if verdict is not None else ((None, state),)
        elif found := re.match(r"numgen random mod (\d+) vmap \{ (.*) \}$", rest):
            for verdict in _choices(found[1], found[2]):
                yield from self._verdict(verdict, state)
        elif found := re.match(r"dnat ip to (.*)$", rest):
            for target in self._targets(found[1], keys):
                yield Outcome("dnat", target, state.masquerade), state
        else:
            yield from self._verdict(rest, state)

    def _targets(self, text: str, keys: dict[str, str]) -> Iterator[str]:
        if found := re.match(r"(.*) \. numgen random mod (\d+) map @(\S+)$", text):
            for number in range(int(found[2])):
                yield self.sets[found[3]].elements[f"{keys[found[1]]} . {number}"]
        elif found := re.match(r"numgen random mod (\d+) map \{ (.*) \}$", text):
            yield from _choices(found[1], found[2])
        else:
            yield text.replace(":", " . ")

    def holds_address(self, found: re.Match[str], packet: Packet) -> bool:
        address = packet.source if found[1] == "s" else packet.destination
        if found[3]:
            inside = address in self.sets[found[3]].elements
        else:
            networks = [IPv4Network(text) for text in (found[4] or found[5]).split(", ")]
            inside = any(IPv4Address(address) in network for network in networks)
        return inside != bool(found[2])


def _keys(packet: Packet) -> dict[str, str]:
    node_port = f"{packet.protocol} . {packet.port}"
    return {
        "ip daddr . meta l4proto . th dport": f"{packet.destination} . {node_port}",
        "meta l4proto . th dport": node_port,
        f"ip daddr . {packet.protocol} dport": f"{packet.destination} . {packet.port}",
        f"{packet.protocol} dport": str(packet.port),
    }


def _choices(count: str, text: str) -> list[str]:
    choices = dict(item.split(" : ") for item in text.split(", "))
    assert sorted(map(int, choices)) == list(range(int(count)))
    return list(choices.values())


_MASQUERADE = re.compile(r"meta mark set meta mark or 0x4000\s?")
_MATCHES: tuple[tuple[re.Pattern[str], Callable[[Kernel, re.Match[str], Packet], bool]], ...] = (
    (re.compile("ct state new "), lambda *_: True),
    (re.compile(r"update @\S+ \{ ip saddr \}"), lambda *_: True),
    (re.compile("fib saddr type local "), lambda _, __, packet: packet.from_node),
    (re.compile(r"meta l4proto (tcp|udp|sctp) "), lambda _, found, packet: packet.protocol == found[1]),
    (re.compile(r"ip (s|d)addr (!= )?(?:@(\S+)|\{ (.*?) \}|(\d\S+))\s?"), Kernel.holds_address),
)
