"""The cluster's zone, pure: a name and a type looked up in Services and EndpointSlices as they are now.

Nothing is kept: each answer is found through the indexes of the informers' objects (`Objects`). Source: the
Kubernetes DNS-based service discovery specification 1.1.0, and the behaviour of CoreDNS's kubernetes plugin with
`pods insecure`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from twinplane.kubeclient.contract import Object
from twinplane.nameserver.contract import NOT_OURS, Answer, Outcome, Record

VERSION = "1.1.0"
SRV_TARGET_PORTS = "0 100 {port} {target}"
REVERSE = {".in-addr.arpa.": 4, ".ip6.arpa.": 6}


class Objects(Protocol):
    def service(self, namespace: str, name: str) -> Object | None: ...

    def slices(self, namespace: str, service: str) -> list[Object]: ...

    def services_at(self, address: str) -> list[Object]:
        """Those that have it as a cluster IP."""
        ...

    def slices_at(self, address: str) -> list[Object]:
        """Those that have an endpoint with it."""
        ...

    def has_namespace(self, name: str) -> bool: ...


class Endpoint:
    """One address of an EndpointSlice with the name it has below its Service."""

    __slots__ = ("address", "hostname", "ports")

    def __init__(self, address: str, hostname: str, ports: list[dict[str, Any]]) -> None:
        self.address = address
        self.hostname = hostname or address.replace(".", "-").replace(":", "-")
        self.ports = ports


class ClusterZone:
    """`zone` is absolute, e.g. `cluster.local.`; implements `Source` for it and for reverse names of the cluster."""

    def __init__(self, objects: Objects, zone: str = "cluster.local.", ttl: int = 5) -> None:
        self._objects = objects
        self._zone = zone
        self._ttl = ttl

    def answer(self, name: str, type: str) -> Answer:
        family = next((family for suffix, family in REVERSE.items() if name.endswith(suffix)), 0)
        if family:
            return self._reverse(name, type, family)
        if name != self._zone and not name.endswith("." + self._zone):
            return NOT_OURS
        labels = name[: -len(self._zone)].rstrip(".").split(".") if name != self._zone else []
        return self._apex(type) if not labels else self._below(name, labels, type)

    def _apex(self, type: str) -> Answer:
        if type == "SOA":
            return Answer(Outcome.FOUND, (self._soa(),))
        if type == "NS":
            server = self._record(self._zone, "NS", f"ns.dns.{self._zone}")
            addresses = self._addresses(f"ns.dns.{self._zone}", "A", self._dns_addresses())
            return Answer(Outcome.FOUND, (server,), tuple(addresses))
        return self._nothing()

    def _below(self, name: str, labels: list[str], type: str) -> Answer:
        match labels:
            case ["dns-version"]:
                return self._found([self._record(name, "TXT", f'"{VERSION}"')] if type in ("TXT", "ANY") else [])
            case ["ns", "dns"]:
                return self._found(self._addresses(name, type, self._dns_addresses()))
            case [*_, namespace, "svc" | "pod"] if not self._objects.has_namespace(namespace):
                return self._no_such_name()
            case ["dns" | "svc" | "pod"] | [_, "svc" | "pod"]:
                return self._nothing()
            case [dashed, _, "pod"]:
                return self._pod(name, dashed, type)
            case [service, namespace, "svc"]:
                return self._service(name, namespace, service, type)
            case [port, protocol, service, namespace, "svc"] if port.startswith("_") and protocol.startswith("_"):
                return self._port(name, (port[1:], protocol[1:]), namespace, service, type)
            case [hostname, service, namespace, "svc"]:
                return self._endpoint(name, hostname, namespace, service, type)
        return self._no_such_name()

    # -- services ----------------------------------------------------------------------------------------------------

    def _service(self, name: str, namespace: str, service: str, type: str) -> Answer:
        found = self._objects.service(namespace, service)
        if found is None:
            return self._no_such_name()
        spec = found["spec"]
        if spec.get("type") == "ExternalName":
            target = str(spec.get("externalName", "")).rstrip(".").lower() + "."
            return self._found([self._record(name, "CNAME", target)] if type in ("A", "AAAA", "CNAME", "ANY") else [])
        if not _headless(spec):
            if type == "SRV":
                return self._ports_of_service(name, spec, None)
            return self._found(self._addresses(name, type, _cluster_addresses(spec)))
        endpoints = list(self._endpoints(found))
        if not endpoints:
            # As CoreDNS: a headless Service without endpoints is no name at all.
            return self._no_such_name()
        if type == "SRV":
            return self._ports_of_endpoints(name, found, endpoints, None)
        return self._found(self._addresses(name, type, [endpoint.address for endpoint in endpoints]))

    def _port(self, name: str, port: tuple[str, str], namespace: str, service: str, type: str) -> Answer:
        found = self._objects.service(namespace, service)
        if found is None or found["spec"].get("type") == "ExternalName":
            return self._no_such_name()
        if _headless(found["spec"]):
            answer = self._ports_of_endpoints(name, found, list(self._endpoints(found)), port)
        else:
            answer = self._ports_of_service(name, found["spec"], port)
        if not answer.records:
            return self._no_such_name()
        return answer if type in ("SRV", "ANY") else self._nothing()

    def _ports_of_service(self, name: str, spec: dict[str, Any], port: tuple[str, str] | None) -> Answer:
        target = name if port is None else name.split(".", 2)[2]
        records = [
            self._record(name, "SRV", SRV_TARGET_PORTS.format(port=each["port"], target=target))
            for each in spec.get("ports") or ()
            if port is None or _is_port(each, port)
        ]
        addresses = [each for kind in ("A", "AAAA") for each in self._addresses(target, kind, _cluster_addresses(spec))]
        return self._found(records, addresses if records else [])

    def _ports_of_endpoints(
        self, name: str, service: Object, endpoints: list[Endpoint], port: tuple[str, str] | None
    ) -> Answer:
        parent = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc.{self._zone}"
        records, addresses = [], []
        for endpoint in endpoints:
            target = f"{endpoint.hostname}.{parent}"
            ports = [each["port"] for each in endpoint.ports if port is None or _is_port(each, port)]
            values = [SRV_TARGET_PORTS.format(port=number, target=target) for number in ports if number]
            records += [self._record(name, "SRV", value) for value in values]
            for kind in ("A", "AAAA"):
                addresses += self._addresses(target, kind, [endpoint.address])
        return self._found(records, addresses if records else [])

    def _endpoint(self, name: str, hostname: str, namespace: str, service: str, type: str) -> Answer:
        found = self._objects.service(namespace, service)
        if found is None or found["spec"].get("type") == "ExternalName":
            return self._no_such_name()
        addresses = [each.address for each in self._endpoints(found) if each.hostname == hostname]
        if not addresses:
            return self._no_such_name()
        return self._found(self._addresses(name, type, addresses))

    def _endpoints(self, service: Object) -> Iterator[Endpoint]:
        metadata = service["metadata"]
        unready = bool(service["spec"].get("publishNotReadyAddresses"))
        seen: set[tuple[str, str]] = set()
        for slice_ in self._objects.slices(metadata["namespace"], metadata["name"]):
            for endpoint in slice_.get("endpoints") or ():
                # A null condition counts as ready, which is what the API's documentation asks of readers.
                if not unready and (endpoint.get("conditions") or {}).get("ready") is False:
                    continue
                for address in endpoint.get("addresses") or ():
                    made = Endpoint(address, str(endpoint.get("hostname") or ""), slice_.get("ports") or [])
                    if (made.address, made.hostname) not in seen:
                        seen.add((made.address, made.hostname))
                        yield made

    # -- pods and addresses ------------------------------------------------------------------------------------------

    def _pod(self, name: str, dashed: str, type: str) -> Answer:
        for address in (dashed.replace("-", "."), dashed.replace("-", ":")):
            try:
                ipaddress.ip_address(address)
            except ValueError:
                continue
            return self._found(self._addresses(name, type, [address]))
        return self._no_such_name()

    def _reverse(self, name: str, type: str, family: int) -> Answer:
        address = _address_of(name, family)
        if address is None:
            return NOT_OURS
        names = [_name(service) for service in self._objects.services_at(address)]
        for slice_ in self._objects.slices_at(address):
            service = (slice_["metadata"].get("labels") or {}).get("kubernetes.io/service-name")
            parent = service and self._objects.service(slice_["metadata"]["namespace"], service)
            if parent and _headless(parent["spec"]):
                hostnames = [each.hostname for each in self._endpoints(parent) if each.address == address]
                names += [f"{hostname}.{_name(parent)}" for hostname in hostnames]
        if not names:
            # `fallthrough in-addr.arpa ip6.arpa` of EKS's Corefile.
            return NOT_OURS
        records = [self._record(name, "PTR", f"{each}.svc.{self._zone}") for each in dict.fromkeys(names)]
        return self._found(records if type in ("PTR", "ANY") else [])

    def _dns_addresses(self) -> list[str]:
        service = self._objects.service("kube-system", "kube-dns")
        return _cluster_addresses(service["spec"]) if service else []

    # -- answers -----------------------------------------------------------------------------------------------------

    def _addresses(self, name: str, type: str, addresses: Iterable[str]) -> list[Record]:
        kinds = ("A", "AAAA") if type == "ANY" else (type,)
        pairs = (("AAAA" if ":" in address else "A", address) for address in addresses)
        return [self._record(name, kind, address) for kind, address in pairs if kind in kinds]

    def _found(self, records: list[Record], additional: Iterable[Record] = ()) -> Answer:
        return Answer(Outcome.FOUND, tuple(records), tuple(additional)) if records else self._nothing()

    def _nothing(self) -> Answer:
        return Answer(Outcome.FOUND, authority=(self._soa(),))

    def _no_such_name(self) -> Answer:
        return Answer(Outcome.NO_SUCH_NAME, authority=(self._soa(),))

    def _soa(self) -> Record:
        value = f"ns.dns.{self._zone} hostmaster.{self._zone} 1 7200 1800 86400 {self._ttl}"
        return self._record(self._zone, "SOA", value)

    def _record(self, name: str, type: str, value: str) -> Record:
        return Record(name, type, value, self._ttl)


def _headless(spec: dict[str, Any]) -> bool:
    return spec.get("clusterIP") in (None, "", "None")


def _cluster_addresses(spec: dict[str, Any]) -> list[str]:
    addresses = spec.get("clusterIPs") or [spec.get("clusterIP")]
    return [address for address in addresses if address and address != "None"]


def _is_port(port: dict[str, Any], wanted: tuple[str, str]) -> bool:
    return (str(port.get("name") or "").lower(), str(port.get("protocol") or "TCP").lower()) == wanted


def _name(service: Object) -> str:
    return f"{service['metadata']['name']}.{service['metadata']['namespace']}"


def _address_of(name: str, family: int) -> str | None:
    labels = name.split(".")[:-3]
    try:
        if family == 4:
            return str(ipaddress.IPv4Address(".".join(reversed(labels)))) if len(labels) == 4 else None
        digits = "".join(reversed(labels))
        groups = [digits[start : start + 4] for start in range(0, len(digits), 4)]
        return str(ipaddress.IPv6Address(":".join(groups))) if len(labels) == 32 else None
    except ValueError:
        return None
