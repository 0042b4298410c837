"""Which address objects Services ask for, and which of them a ServiceCIDR still has to serve. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import is_deleting, name_of, namespace_of

FAMILY_LABEL = "ipaddress.kubernetes.io/ip-family"
MANAGED_BY_LABEL = "ipaddress.kubernetes.io/managed-by"
ALLOCATOR = "ipallocator.k8s.io"

Network = IPv4Network | IPv6Network


def cluster_ips(service: Object) -> list[str]:
    """In canonical form, as IPAddress objects are named."""
    spec = service["spec"]
    given = spec.get("clusterIPs") or [spec.get("clusterIP") or ""]
    return [str(ip_address(entry)) for entry in given if entry not in ("", "None")]


def address_object(service: Object, address: str) -> Object:
    family = f"IPv{ip_address(address).version}"
    parent = {"group": "", "resource": "services", "namespace": namespace_of(service), "name": name_of(service)}
    labels = {FAMILY_LABEL: family, MANAGED_BY_LABEL: ALLOCATOR}
    return {"metadata": {"name": address, "labels": labels}, "spec": {"parentRef": parent}}


def parent_of(address: Object) -> tuple[str, str] | None:
    """(namespace, name) of the Service; None for an address that belongs to something else."""
    parent = address["spec"].get("parentRef") or {}
    if (parent.get("group", ""), parent.get("resource")) != ("", "services"):
        return None
    return parent.get("namespace", ""), parent["name"]


def networks(service_cidr: Object) -> list[Network]:
    return [ip_network(cidr, strict=False) for cidr in service_cidr["spec"].get("cidrs") or []]


def only_here(service_cidr: Object, others: Iterable[Object], addresses: Iterable[Object]) -> list[Object]:
    """The addresses that no other ServiceCIDR (that stays) contains."""
    mine = networks(service_cidr)
    rest = [network for other in others if not is_deleting(other) for network in networks(other)]
    return [
        address
        for address in addresses
        if any(ip_address(name_of(address)) in network for network in mine)
        and not any(ip_address(name_of(address)) in network for network in rest)
    ]
