"""What the VPC's DNS server knows, pure: private names of instances, and names of load balancers.

An IP name and the address in it lead to each other, in every VPC of the region.

Source: "Amazon EC2 instance hostnames and domain names": `ip-10-24-34-0.us-west-2.compute.internal`, in us-east-1
`ip-10-24-34-0.ec2.internal`. The name carries the address, so nothing has to be looked up.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence

from twinplane.nameserver.contract import NOT_OURS, Answer, Outcome, Record

TTL = 60
REVERSE = ".in-addr.arpa."
PRIVATE = [ipaddress.IPv4Network(block) for block in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]
_LABEL = re.compile(r"ip-(\d+)-(\d+)-(\d+)-(\d+)")


class LoadBalancerNames:
    """Implements `Source`: a load balancer's name leads to its interfaces in the VPC.

    AWS does so for internal ones, and gives public addresses of the others; those have none here, and are reached at
    their interfaces as well.
    """

    def __init__(self, region: str, addresses: Callable[[str], Sequence[str]]) -> None:
        """`addresses` are those of a load balancer, by its name in lower case without the last dot."""
        self._domains = (f"{region}.elb.amazonaws.com.", f"elb.{region}.amazonaws.com.")
        self._addresses = addresses

    def answer(self, name: str, type: str) -> Answer:
        domain = next((found for found in self._domains if name.endswith("." + found)), None)
        if domain is None:
            return NOT_OURS
        found = self._addresses(name.removesuffix("."))
        if found and type in ("A", "ANY"):
            return Answer(Outcome.FOUND, tuple(Record(name, "A", address, TTL) for address in found))
        value = f"ns1.{domain} hostmaster.{domain} 1 7200 900 1209600 {TTL}"
        outcome = Outcome.FOUND if found else Outcome.NO_SUCH_NAME
        return Answer(outcome, authority=(Record(domain, "SOA", value, TTL),))


class InstanceNames:
    """Implements `Source`."""

    def __init__(self, region: str) -> None:
        self._domain = "ec2.internal." if region == "us-east-1" else f"{region}.compute.internal."

    def answer(self, name: str, type: str) -> Answer:
        if name.endswith(REVERSE):
            return self._reverse(name, type)
        if name != self._domain and not name.endswith("." + self._domain):
            return NOT_OURS
        match = _LABEL.fullmatch(name[: -len(self._domain) - 1])
        address = _address(match.groups()) if match else None
        if address is None:
            return self._nothing(Outcome.FOUND if name == self._domain else Outcome.NO_SUCH_NAME)
        if type not in ("A", "ANY"):
            return self._nothing(Outcome.FOUND)
        return Answer(Outcome.FOUND, (Record(name, "A", str(address), TTL),))

    def _reverse(self, name: str, type: str) -> Answer:
        labels = name[: -len(REVERSE)].split(".")
        address = _address(tuple(reversed(labels))) if len(labels) == 4 else None
        if address is None or not any(address in block for block in PRIVATE):
            return NOT_OURS
        if type not in ("PTR", "ANY"):
            return self._nothing(Outcome.FOUND)
        host = f"ip-{str(address).replace('.', '-')}.{self._domain}"
        return Answer(Outcome.FOUND, (Record(name, "PTR", host, TTL),))

    def _nothing(self, outcome: Outcome) -> Answer:
        value = f"ns0.{self._domain} hostmaster.{self._domain} 2012103100 3600 3600 3600 {TTL}"
        return Answer(outcome, authority=(Record(self._domain, "SOA", value, TTL),))


def _address(parts: tuple[str, ...]) -> ipaddress.IPv4Address | None:
    try:
        return ipaddress.IPv4Address(".".join(parts))
    except ipaddress.AddressValueError:
        return None
