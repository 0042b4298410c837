"""Addresses and ports of Services: cluster IPs, node ports and health-check ports are chosen, kept and refused here.

Upstream allocates in the Service's registry; here it is the last mutating plugin. What is taken is derived from the
live Services, so releasing needs no bookkeeping, plus a short-lived reservation for writes that are still under way,
which replicas share (`shared_reservations`). Ranges are those of the ServiceCIDRs, the cluster's own first.
Addresses and ports are picked at random, as upstream, from the upper band first. `service_fields` is the pure part.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from random import Random
from typing import Any

from twinplane.clock import Clock
from twinplane.controlplane.admission import service_fields as fields
from twinplane.controlplane.admission.contract import AdmissionRequest, ObjectReader
from twinplane.controlplane.admission.plugin import Plugin, body_of, concerns, entries, shown_name, spec_of
from twinplane.controlplane.admission.shared_reservations import SharedReservations
from twinplane.controlplane.auth.bootstrap import DEFAULT_SERVICE_CIDR
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError, FieldError, invalid
from twinplane.kubeclient.meta import copied
from twinplane.kubeclient.resources import IP_ADDRESSES, SERVICE_CIDRS, SERVICES

NODE_PORTS = range(30000, 32768)
_RESERVED_SECONDS = 10.0
_ATTEMPTS = 16
_MANAGED_BY, _ALLOCATOR = "ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Reservations:
    """What writes under way have taken, each for a few seconds: until the object is there, or the write has failed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[Any, tuple[float, str]] = {}

    def holder(self, item: Any) -> str | None:
        self._expire()
        found = self._until.get(item)
        return found[1] if found else None

    def take(self, item: Any, holder: str) -> None:
        self._expire()
        self._until.pop(item, None)
        self._until[item] = (self._clock.now() + _RESERVED_SECONDS, holder)

    def drop(self, item: Any) -> None:
        self._until.pop(item, None)

    def _expire(self) -> None:
        now = self._clock.now()
        while self._until:
            oldest = next(iter(self._until))
            if self._until[oldest][0] > now:
                return
            del self._until[oldest]


class Taken:
    """Cluster IPs and node ports of the live Services, derived once for each revision.

    IPAddress objects that somebody else has made take their addresses, too; those of Services follow the Services.
    """

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader
        self._revision: tuple[int, int] | None = None
        self.addresses: dict[str, str] = {}
        self.ports: dict[int, str] = {}

    def refresh(self) -> None:
        revision = (self._reader.revision(SERVICES), self._reader.revision(IP_ADDRESSES))
        if revision == self._revision:
            return
        self._revision = revision
        self.addresses, self.ports = {}, {}
        for address in self._reader.list(IP_ADDRESSES):
            if (address["metadata"].get("labels") or {}).get(_MANAGED_BY) != _ALLOCATOR:
                self.addresses[address["metadata"]["name"]] = f"ipaddress {address['metadata']['name']}"
        for service in self._reader.list(SERVICES):
            spec = service.get("spec") or {}
            key = fields.key_of(service)
            self.addresses.update(dict.fromkeys(fields.cluster_ips(spec), key))
            self.ports.update(dict.fromkeys(fields.node_ports(spec), key))


class ServiceAddresses(Plugin):
    name = "ServiceAddresses"
    by_type = True

    def __init__(
        self,
        reader: ObjectReader,
        clock: Clock,
        random: Random,
        *,
        service_cidr: str = DEFAULT_SERVICE_CIDR,
        node_ports: range = NODE_PORTS,
        shared: SharedReservations | None = None,
    ) -> None:
        """`shared` where there are several API servers."""
        self._reader = reader
        self._shared = shared
        self._network = ipaddress.ip_network(service_cidr)
        self._family = "IPv6" if self._network.version == 6 else "IPv4"
        self._ranges: tuple[int, list[Network]] = (-1, [])
        self._node_ports = node_ports
        self._random = random
        self._taken = Taken(reader)
        self._reserved = Reservations(clock)

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, SERVICES, "CREATE", "UPDATE", "DELETE")

    async def admit(self, request: AdmissionRequest) -> None:
        await self._settle(request)
        if request.operation == "DELETE":
            return
        given = copied(spec_of(request)) if self._shared is not None else {}
        for _ in range(_ATTEMPTS):
            items = self._allocate(request)
            if self._shared is None or request.dry_run or not items:
                return
            lost = await self._shared.take([f"{kind}/{value}" for kind, value in items], self._holder(request))
            if not lost:
                return
            # Another API server was first: what it has is taken here, too, until its Service can be seen.
            for kind, value in items:
                self._reserved.drop((kind, value))
                if f"{kind}/{value}" in lost:
                    self._reserved.take((kind, value), "another API server")
            body_of(request)["spec"] = copied(given)
        raise ApiError("TooManyRequests", "no address could be allocated", retry_after=1)

    async def _settle(self, request: AdmissionRequest) -> None:
        """A Service that is there holds what it has: what it was promised is free when it gives that up."""
        if request.old is None or request.dry_run:
            return
        items = _items(request.old.get("spec") or {})
        holder = self._holder(request)
        for item in items:
            if self._reserved.holder(item) == holder:
                self._reserved.drop(item)
        if self._shared is not None and items:
            await self._shared.drop({f"{kind}/{value}" for kind, value in items}, holder)

    def _allocate(self, request: AdmissionRequest) -> list[tuple[str, Any]]:
        """What the Service has now. In one go: what is seen as free here is reserved before anybody else looks."""
        spec = spec_of(request)
        old = (request.old or {}).get("spec") or {}
        self._taken.refresh()
        if old:
            fields.keep_allocated(spec, old)
            fields.drop_released(spec, old)
        errors = fields.changed_address(spec, old) or fields.set_families(spec, self._family)
        if not errors:
            errors = [*self._addresses(request, spec), *self._ports(request, spec)]
        if errors:
            raise _invalid(request, errors)
        return sorted(_items(spec) - _items(old))

    def _networks(self) -> list[Network]:
        """The cluster's own range, then those of other ServiceCIDRs of its family that stay."""
        revision = self._reader.revision(SERVICE_CIDRS)
        if revision != self._ranges[0]:
            found: list[Network] = [self._network]
            for each in self._reader.list(SERVICE_CIDRS):
                if "deletionTimestamp" not in each["metadata"]:
                    networks = (ipaddress.ip_network(text, strict=False) for text in each["spec"].get("cidrs") or ())
                    found += (
                        network
                        for network in networks
                        if network.version == self._network.version and network not in found
                    )
            self._ranges = (revision, found)
        return self._ranges[1]

    def _addresses(self, request: AdmissionRequest, spec: Object) -> list[FieldError]:
        if not fields.wants_address(spec):
            return []
        wanted = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
        if not wanted:
            address = self._free_address()
            if address is None:
                raise ApiError("InternalError", "failed to allocate a serviceIP: range is full")
            wanted = [address]
        mine = self._holder(request)
        for address in wanted:
            problem = self._address_problem(str(address), mine)
            if problem:
                return [
                    FieldError(
                        "FieldValueInvalid", "spec.clusterIPs", f"failed to allocate IP {address}: {problem}", wanted
                    )
                ]
        spec["clusterIP"], spec["clusterIPs"] = wanted[0], list(wanted)
        self._reserve(request, (("address", address) for address in wanted))
        return []

    def _address_problem(self, text: str, mine: str) -> str:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return "not a valid IP address"
        around = [each for each in self._networks() if address in each]
        if not around:
            return "the provided network does not match the current range"
        if all(address in _edges(each) for each in around):
            return f"the provided IP ({text}) is not in the valid range. The range of valid IPs is {around[0]}"
        holder = self._taken.addresses.get(text) or self._reserved.holder(("address", text))
        return "provided IP is already allocated" if holder not in (None, mine) else ""

    def _free_address(self) -> str | None:
        return next(filter(None, map(self._free_address_of, self._networks())), None)

    def _free_address_of(self, network: Network) -> str | None:
        """The lower band, a sixteenth of the range but no more than 256, is left for addresses that people choose."""
        size = min(network.num_addresses, 1 << 20)
        offset = min(max(16, size >> 4), 256) if size >= 32 else 1
        for low, high in ((offset, size - 1), (1, offset)):
            start = self._random.randrange(low, high) if high > low else low
            for step in range(high - low):
                text = str(network[low + (start - low + step) % (high - low)])
                if text not in self._taken.addresses and self._reserved.holder(("address", text)) is None:
                    return text
        return None

    def _ports(self, request: AdmissionRequest, spec: Object) -> list[FieldError]:
        """A number is taken once in the cluster; ports of one Service with one number (UDP and TCP) may share it."""
        mine, errors = self._holder(request), []
        ports = entries(spec, "ports") if fields.wants_node_ports(spec) else []
        chosen: dict[Any, int] = {}
        for index, port in enumerate(ports):
            number = port.get("nodePort")
            if number and (problem := self._port_problem(number, mine)):
                errors.append(FieldError("FieldValueInvalid", f"spec.ports[{index}].nodePort", problem, number))
            elif number:
                chosen.setdefault(port.get("port"), number)
        if errors:
            return errors
        for port in ports:
            if not port.get("nodePort"):
                port["nodePort"] = chosen.get(port.get("port")) or self._free_port(set(chosen.values()))
                chosen[port.get("port")] = port["nodePort"]
        numbers = {port["nodePort"] for port in ports}
        errors = self._health_check_port(spec, mine, numbers)
        if not errors:
            self._reserve(request, (("port", number) for number in numbers))
        return errors

    def _health_check_port(self, spec: Object, mine: str, numbers: set[int]) -> list[FieldError]:
        if not fields.wants_health_check_port(spec):
            return []
        number = spec.get("healthCheckNodePort")
        if not number:
            number = spec["healthCheckNodePort"] = self._free_port(numbers)
        elif problem := self._port_problem(number, mine):
            why = f"failed to allocate requested HealthCheck NodePort {number}: {problem}"
            return [FieldError("FieldValueInvalid", "spec.healthCheckNodePort", why, number)]
        numbers.add(number)
        return []

    def _port_problem(self, number: int, mine: str) -> str:
        if number not in self._node_ports:
            ends = f"{self._node_ports.start}-{self._node_ports.stop - 1}"
            return f"provided port is not in the valid range. The range of valid ports is {ends}"
        holder = self._taken.ports.get(number) or self._reserved.holder(("port", number))
        return "provided port is already allocated" if holder not in (None, mine) else ""

    def _free_port(self, chosen: Collection[int]) -> int:
        low, size = self._node_ports.start, len(self._node_ports)
        offset = min(max(16, size >> 5), 128) if size >= 32 else 0
        for first, count in ((low + offset, size - offset), (low, offset)):
            start = self._random.randrange(count) if count else 0
            for step in range(count):
                number = first + (start + step) % count
                taken = number in chosen or number in self._taken.ports
                if not taken and self._reserved.holder(("port", number)) is None:
                    return number
        raise ApiError("InternalError", "failed to allocate a nodePort: range is full")

    def _reserve(self, request: AdmissionRequest, items: Iterable[Any]) -> None:
        if not request.dry_run:
            for item in items:
                self._reserved.take(item, self._holder(request))

    def _holder(self, request: AdmissionRequest) -> str:
        return f"{request.namespace}/{shown_name(request)}"


def _items(spec: Object) -> set[tuple[str, Any]]:
    """What a Service has of the ranges."""
    addresses = {("address", text) for text in fields.cluster_ips(spec)}
    return addresses | {("port", number) for number in fields.node_ports(spec)}


def _edges(network: Network) -> tuple[object, object]:
    return network.network_address, network.broadcast_address


def _invalid(request: AdmissionRequest, errors: list[FieldError]) -> ApiError:
    body = body_of(request)
    return invalid("", "Service", str((body.get("metadata") or {}).get("name", "")), errors)
