"""Reads moto's EC2 state into the records of `contract`.

Only reads, and never makes a backend. Whoever owns moto runs `read` in moto's thread.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from twinplane.cloud.network.fabric.contract import (
    Interface,
    NatGateway,
    Peering,
    Permission,
    Route,
    RouteTable,
    SecurityGroup,
    Snapshot,
    Subnet,
    Vpc,
)

GONE = ("terminated", "shutting-down")


class MotoReader:
    """`read()` is the snapshot of one account in one region."""

    def __init__(self, account_id: str, region: str) -> None:
        self._account_id = account_id
        self._region = region

    def read(self) -> Snapshot:
        backend = self._backend()
        if backend is None:
            return Snapshot()
        public = {address.eni.id: address.public_ip for address in list(backend.addresses) if address.eni}
        return Snapshot(
            tuple(_vpc(found) for found in list(backend.vpcs.values())),
            tuple(
                Subnet(found.id, found.vpc_id, found.cidr_block)
                for zone in list(backend.subnets.values())
                for found in list(zone.values())
            ),
            tuple(_interface(found, public.get(found.id, "")) for found in list(backend.enis.values())),
            tuple(_route_table(found) for found in list(backend.route_tables.values())),
            {found.id: found.vpc.id for found in list(backend.internet_gateways.values()) if found.vpc},
            tuple(
                _nat_gateway(found, public.get(found._eni.id, ""))
                for found in list(backend.nat_gateways.values())
                if found.state == "available"
            ),
            tuple(
                _security_group(found) for groups in list(backend.groups.values()) for found in list(groups.values())
            ),
            {
                found.id: tuple(entry["Cidr"] for entry in (found.entries or {}).get(found.version) or [])
                for found in list(backend.managed_prefix_lists.values())
            },
            tuple(
                Peering(found.id, found.vpc.id, found.peer_vpc.id)
                for found in list(backend.vpc_pcxs.values())
                if found._status.code == "active"
            ),
        )

    def _backend(self) -> Any:
        backends = getattr(sys.modules.get("moto.ec2.models"), "ec2_backends", None)
        if backends is None or self._account_id not in list(backends.keys()):
            return None
        regional = backends[self._account_id]
        return regional[self._region] if self._region in list(regional.keys()) else None


def _vpc(found: Any) -> Vpc:
    blocks = [entry["cidr_block"] for entry in found.get_cidr_block_association_set(ipv6=False)]
    return Vpc(found.id, tuple(dict.fromkeys([found.cidr_block, *blocks])))


def _interface(found: Any, elastic: str) -> Interface:
    instance = found.instance if found.instance is not None and found.instance.state not in GONE else None
    others = (record["PrivateIpAddress"] for record in found.private_ip_addresses)
    index = found.device_index or 0
    checked = _truth(found.source_dest_check) and (instance is None or index or _truth(instance.source_dest_check))
    return Interface(
        id=found.id,
        vpc_id=found.subnet.vpc_id,
        subnet_id=found.subnet.id,
        mac=found.mac_address.lower(),
        addresses=tuple(dict.fromkeys([found.private_ip_address, *others])),
        groups=tuple(sorted({group.id for group in found.group_set})),
        source_dest_check=bool(checked),
        instance_id=instance.id if instance is not None else "",
        device_index=index,
        public_address=elastic or found.public_ip or "",
    )


def _truth(value: Any) -> bool:
    """moto keeps what the request said, sometimes as text."""
    return str(value).lower() != "false"


def _route_table(found: Any) -> RouteTable:
    routes = tuple(route for item in list(found.routes) if not item.local for route in _routes(item))
    subnets = tuple(sorted(target for target in list(found._associations.values()) if target))
    return RouteTable(found.id, found.vpc_id, found.main_association_id is not None, subnets, routes)


def _routes(found: Any) -> Iterable[Route]:
    target = (
        found.gateway_id
        or found.nat_gateway_id
        or found.network_interface_id
        or found.instance_id
        or found.vpc_peering_connection_id
        or ""
    )
    prefixes = found.destination_prefix_list
    if prefixes is not None:
        entries = (prefixes.entries or {}).get(prefixes.version) or []
        return [Route(entry["Cidr"], target) for entry in entries]
    return [Route(found.destination_cidr_block, target)] if found.destination_cidr_block else []


def _nat_gateway(found: Any, public: str) -> NatGateway:
    elastic = public or found._eni.public_ip or "" if found.connectivity_type != "private" else ""
    return NatGateway(found.id, found.vpc_id, found.subnet_id, found._eni.private_ip_address, elastic)


def _security_group(found: Any) -> SecurityGroup:
    ingress, egress = (
        tuple(permission for rule in list(rules) for permission in _permissions(rule))
        for rules in (found.ingress_rules, found.egress_rules)
    )
    return SecurityGroup(found.id, found.vpc_id or "", ingress, egress)


def _permissions(rule: Any) -> Iterable[Permission]:
    first, last = (-1 if port is None else int(port) for port in (rule.from_port, rule.to_port))
    peer = {
        "cidr": rule.ip_range.get("CidrIp") or "",
        "group": rule.source_group.get("GroupId") or "",
        "prefix_list": rule.prefix_list_id or "",
    }
    if any(peer.values()):
        yield Permission(str(rule.ip_protocol), first, last, **peer)
