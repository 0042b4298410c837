"""`ip` and `cidr`. `string(ip)` is missing: the binding takes no more overloads of that name."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from twinplane.controlplane.cel.functions import Function, function, method, opaque

_IP, _CIDR = "kubernetes.IP", "kubernetes.CIDR"
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _address(value: dict[str, Any] | str) -> Address:
    """Raises ValueError; neither zones nor IPv4 in IPv6, as upstream."""
    text = value if isinstance(value, str) else value["ip"]
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f'IP Address "{text}" parse error during conversion from string: unable to parse IP') from None
    if isinstance(found, ipaddress.IPv6Address):
        if found.scope_id:
            raise ValueError(f'IP address "{text}" with zone value is not allowed')
        if found.ipv4_mapped:
            raise ValueError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return found


def _interface(value: dict[str, Any] | str) -> tuple[Address, Network]:
    text = value if isinstance(value, str) else value["cidr"]
    head, slash, bits = text.partition("/")
    try:
        if not slash or not bits.isdigit():
            raise ValueError("no prefix length")
        address = _address(head)
        return address, ipaddress.ip_network((address, int(bits)), strict=False)
    except ValueError:
        detail = "network address parse error during conversion from string"
        raise ValueError(f'{detail}: netip.ParsePrefix("{text}"): unable to parse') from None


def _is(parse: Callable[[str], Any]) -> Callable[[str], bool]:
    def call(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return call


def _contains_ip(cidr: dict[str, Any], address: dict[str, Any] | str) -> bool:
    return _address(address) in _interface(cidr)[1]


def _contains_cidr(cidr: dict[str, Any], other: dict[str, Any] | str) -> bool:
    outer, inner = _interface(cidr)[1], _interface(other)[1]
    return outer.version == inner.version and inner.subnet_of(outer)  # type: ignore[arg-type]  # same version


def _is_canonical(text: str) -> bool:
    return str(_address(text)) == text


def _property(read: Callable[[Address], bool]) -> Callable[[dict[str, Any]], bool]:
    return lambda value: read(_address(value))


def _global_unicast(address: Address) -> bool:
    special = address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
    return not special and str(address) != "255.255.255.255"


def _link_local_multicast(address: Address) -> bool:
    local: Network = ipaddress.ip_network("224.0.0.0/24" if address.version == 4 else "ff02::/16")
    return address in local


FUNCTIONS: tuple[Function, ...] = (
    function("ip", "string", _IP, lambda text: opaque(ip=str(_address(text)))),
    function("isIP", "string", "bool", _is(_address)),
    function("ip.isCanonical", "string", "bool", _is_canonical),
    method("family", _IP, "int", lambda value: _address(value).version),
    method("isUnspecified", _IP, "bool", _property(lambda address: address.is_unspecified)),
    method("isLoopback", _IP, "bool", _property(lambda address: address.is_loopback)),
    method("isLinkLocalMulticast", _IP, "bool", _property(_link_local_multicast)),
    method(
        "isLinkLocalUnicast", _IP, "bool", _property(lambda address: address.is_link_local and not address.is_multicast)
    ),
    method("isGlobalUnicast", _IP, "bool", _property(_global_unicast)),
    function(
        "cidr", "string", _CIDR, lambda text: opaque(cidr=f"{_interface(text)[0]}/{_interface(text)[1].prefixlen}")
    ),
    function("isCIDR", "string", "bool", _is(_interface)),
    method("containsIP", f"{_CIDR}, {_IP}", "bool", _contains_ip),
    method("containsIP", f"{_CIDR}, string", "bool", _contains_ip),
    method("containsCIDR", f"{_CIDR}, {_CIDR}", "bool", _contains_cidr),
    method("containsCIDR", f"{_CIDR}, string", "bool", _contains_cidr),
    method("ip", _CIDR, _IP, lambda value: opaque(ip=str(_interface(value)[0]))),
    method("masked", _CIDR, _CIDR, lambda value: opaque(cidr=str(_interface(value)[1]))),
    method("prefixLength", _CIDR, "int", lambda value: _interface(value)[1].prefixlen),
)
