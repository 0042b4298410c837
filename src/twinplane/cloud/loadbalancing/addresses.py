"""Where load balancers listen on this host: a loopback address each, at the listener's own port where that is allowed.

Called by the loop. The choice is kept in a file, so that a URL that somebody wrote down stays true over restarts.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Protocol

from twinplane.cloud.loadbalancing.aliases import AddressPool, read_json, write_json
from twinplane.cloud.loadbalancing.contract import LoadBalancer

POOL = IPv4Network("127.90.0.0/16")
HIGH_PORTS = 10000
"""Added to a listener port that cannot be bound: 80 becomes 10080."""
ATTEMPTS = 20


class Reservation(Protocol):
    """A port that is kept from other regions of this host until it is closed."""

    def close(self) -> None: ...


Reserve = Callable[[str, int, bool], Reservation]
"""(address, port, is it of datagrams) -> reservation; OSError where this process may not listen or another does."""


@dataclass(slots=True)
class Place:
    """Of one load balancer: its address, and listener port -> the port that is really bound."""

    address: str
    ports: dict[int, int] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)
    """Listener port -> why it is not bound at its own number, or not at all."""
    reservations: dict[int, Reservation] = field(default_factory=dict)
    """Bound port -> what keeps it; none for the ports of an Envoy that an earlier daemon started, which has them."""

    def forget(self, port: int) -> None:
        """A listener port that is no more, or must be chosen anew."""
        self.problems.pop(port, None)
        reservation = self.reservations.pop(self.ports.pop(port), None)
        if reservation is not None:
            reservation.close()


def reserve(address: str, port: int, datagram: bool = False) -> Reservation:
    """Of two processes that ask at once one is refused: looking whether a port is free and leaving it to Envoy is not
    enough, since Envoys listen with SO_REUSEPORT and two of them would share the connections without an error.

    What is returned is bound and does not listen, so nobody can connect to it. An Envoy of this user may bind beside it
    (SO_REUSEPORT), another reservation may not. UDP is kept by the TCP port of its number, since a bound datagram
    socket would be given a share of the datagrams."""
    if datagram:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((address, port))
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # For connections of an earlier Envoy that wait out their end.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((address, port))
        # Several may bind with SO_REUSEADDR; the second that listens is refused.
        held.listen(1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        held.shutdown(socket.SHUT_RDWR)
    except OSError:
        held.close()
        raise
    return held


class Addresses:
    def __init__(self, path: Path, reserve: Reserve = reserve) -> None:
        self._path = path
        self._reserve = reserve
        self._places: dict[str, Place] = {}
        for arn, entry in read_json(path).items():
            ports = entry.get("ports")
            chosen = {int(port): int(bound) for port, bound in ports.items()} if isinstance(ports, dict) else {}
            self._places[arn] = Place(str(entry["address"]), chosen)
        self._pool = AddressPool(POOL, [place.address for place in self._places.values()])
        self._saved = self._content()

    def place(self, balancer: LoadBalancer) -> Place:
        """The address and ports of a load balancer, chosen now when it is new."""
        wanted = {listener.port: listener.protocol == "UDP" for listener in balancer.listeners}
        place = self._places.get(balancer.arn)
        if place is None:
            place = self._places[balancer.arn] = self._take(wanted)
        for port in [port for port in place.ports if port not in wanted]:
            place.forget(port)
        for port, datagram in wanted.items():
            if port not in place.ports:
                self._choose(place, port, datagram)
        return place

    def _take(self, wanted: dict[int, bool]) -> Place:
        """At an address on which nobody has the ports (another region on this host may have); else at any."""
        candidates: list[Place] = []
        while len(candidates) < ATTEMPTS:
            place = Place(self._pool.take())
            candidates.append(place)
            refusals = [self._choose_exactly(place, port, port, datagram) for port, datagram in wanted.items()]
            if not any(refused is not None and refused.errno == errno.EADDRINUSE for refused in refusals):
                break
        else:
            place = candidates[0]
        for other in candidates:
            if other is not place:
                self._give_back(other)
        return place

    def _choose_exactly(self, place: Place, port: int, bound: int, datagram: bool) -> OSError | None:
        """Listener port `port` at `bound`, or the error that forbids it."""
        try:
            place.reservations[bound] = self._reserve(place.address, bound, datagram)
        except OSError as error:
            return error
        place.ports[port] = bound
        place.problems.pop(port, None)
        return None

    def _choose(self, place: Place, port: int, datagram: bool) -> None:
        refused = self._choose_exactly(place, port, port, datagram)
        if refused is None:
            return
        taken = set(place.ports.values())
        high = port + HIGH_PORTS if port + HIGH_PORTS <= 65535 else port - HIGH_PORTS
        place.problems[port] = f"{place.address}:{port}: {refused.strerror}"
        for candidate in range(high, min(high + ATTEMPTS, 65536)):
            if candidate not in taken and self._choose_exactly(place, port, candidate, datagram) is None:
                place.problems[port] = f"{place.address}:{port}: {refused.strerror}; listening on port {candidate}"
                return

    def check_again(self) -> None:
        """Before a new Envoy starts: ports chosen by an earlier process may have been taken since."""
        for place in self._places.values():
            for port, bound in list(place.ports.items()):
                if bound not in place.reservations and self._choose_exactly(place, port, bound, False) is not None:
                    place.forget(port)

    def _give_back(self, place: Place) -> None:
        for port in list(place.ports):
            place.forget(port)
        self._pool.give_back(place.address)

    def close(self) -> None:
        """Lets other regions have the ports; this one keeps its choice."""
        for place in self._places.values():
            for reservation in place.reservations.values():
                reservation.close()
            place.reservations.clear()

    def retain(self, arns: Collection[str]) -> None:
        for arn in [arn for arn in self._places if arn not in arns]:
            self._give_back(self._places.pop(arn))

    def save(self) -> None:
        content = self._content()
        if content != self._saved:
            write_json(self._path, content)
            self._saved = content

    def _content(self) -> dict[str, dict[str, object]]:
        return {
            arn: {"address": place.address, "ports": {str(port): bound for port, bound in place.ports.items()}}
            for arn, place in self._places.items()
        }
