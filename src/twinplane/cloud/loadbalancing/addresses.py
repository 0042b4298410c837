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

from twinplane.cloud.loadbalancing.aliases import AddressPool, read_json, write_json
from twinplane.cloud.loadbalancing.contract import LoadBalancer

POOL = IPv4Network("127.90.0.0/16")
HIGH_PORTS = 10000
"""Added to a listener port that cannot be bound: 80 becomes 10080."""
ATTEMPTS = 20

BindProbe = Callable[[str, int, bool], OSError | None]


@dataclass(slots=True)
class Place:
    """Of one load balancer: its address, and listener port -> the port that is really bound."""

    address: str
    ports: dict[int, int] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)
    """Listener port -> why it is not bound at its own number, or not at all."""


def probe_bind(address: str, port: int, datagram: bool = False) -> OSError | None:
    """Whether this process (and with it a child) may listen there now; the error if not."""
    kind = socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            if not datagram:
                # With SO_REUSEADDR, bind succeeds beside a listening socket of somebody else; listen does not.
                probe.listen(1)
        except OSError as error:
            return error
    return None


class Addresses:
    def __init__(self, path: Path, probe: BindProbe = probe_bind) -> None:
        self._path = path
        self._probe = probe
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
            place = self._places[balancer.arn] = Place(self._take(wanted))
        for port in [port for port in place.ports if port not in wanted]:
            del place.ports[port]
            place.problems.pop(port, None)
        for port, datagram in wanted.items():
            if port not in place.ports:
                self._choose(place, port, datagram)
        return place

    def _take(self, wanted: dict[int, bool]) -> str:
        """An address on which nobody has the ports (another region on this host may have); else just an address."""
        candidates = [self._pool.take()]
        while self._is_taken(candidates[-1], wanted) and len(candidates) < ATTEMPTS:
            candidates.append(self._pool.take())
        chosen = candidates[0] if self._is_taken(candidates[-1], wanted) else candidates[-1]
        for address in candidates:
            if address != chosen:
                self._pool.give_back(address)
        return chosen

    def _is_taken(self, address: str, wanted: dict[int, bool]) -> bool:
        refusals = (self._probe(address, port, datagram) for port, datagram in wanted.items())
        return any(refused is not None and refused.errno == errno.EADDRINUSE for refused in refusals)

    def _choose(self, place: Place, port: int, datagram: bool) -> None:
        refused = self._probe(place.address, port, datagram)
        if refused is None:
            place.ports[port] = port
            place.problems.pop(port, None)
            return
        taken = set(place.ports.values())
        high = port + HIGH_PORTS if port + HIGH_PORTS <= 65535 else port - HIGH_PORTS
        for candidate in range(high, min(high + ATTEMPTS, 65536)):
            if candidate not in taken and self._probe(place.address, candidate, datagram) is None:
                place.ports[port] = candidate
                place.problems[port] = f"{place.address}:{port}: {refused.strerror}; listening on port {candidate}"
                return
        place.problems[port] = f"{place.address}:{port}: {refused.strerror}"

    def check_again(self) -> None:
        """Before a new Envoy starts: ports chosen by an earlier process may have been taken since."""
        for place in self._places.values():
            for port, bound in list(place.ports.items()):
                refused = self._probe(place.address, bound, False)
                if refused is not None:
                    del place.ports[port]

    def retain(self, arns: Collection[str]) -> None:
        for arn in [arn for arn in self._places if arn not in arns]:
            self._pool.give_back(self._places.pop(arn).address)

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
