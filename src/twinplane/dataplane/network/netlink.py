"""Links, addresses, routes, neighbours and rules of a network namespace, over the kernel's rtnetlink.

For the VPC CNI, which sets up a pod in one batch of messages. A library would cost each node agent 15 MB and 0.4 s of
start; the few messages that a CNI needs are this file. Everything blocks briefly: call it in a thread. A socket
belongs to the namespace in which it was opened; `inside` moves the calling thread there.
Formats: rtnetlink(7), linux/if_link.h.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from types import TracebackType
from typing import NamedTuple, Self

NEW_LINK, DELETE_LINK, GET_LINK = 16, 17, 18
NEW_ADDRESS, GET_ADDRESS = 20, 22
NEW_ROUTE, DELETE_ROUTE, GET_ROUTE = 24, 25, 26
NEW_NEIGHBOUR = 28
NEW_RULE, DELETE_RULE, GET_RULE = 32, 33, 34
_ERROR, _DONE = 2, 3

_REQUEST, _ACK, _EXCLUSIVE, _CREATE, _REPLACE, _DUMP = 0x1, 0x4, 0x200, 0x400, 0x100, 0x300
ADD = _CREATE | _EXCLUSIVE
PUT = _CREATE | _REPLACE

TABLE_MAIN = 254
SCOPE_GLOBAL, SCOPE_LINK = 0, 253
_PROTOCOL_STATIC = 4
_UNICAST = 1
_PERMANENT = 0x80
_UP = 1
_NO_PREFIX_ROUTE = 0x200
_NESTED = 0x8000
_TO_TABLE = 1
_RECEIVE_BYTES = 1 << 18
_CLONE_NEWNET = 0x40000000

_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")


class NetlinkError(OSError):
    """A refusal by the kernel; `errno` says which."""


class Message(NamedTuple):
    type: int
    flags: int
    body: bytes
    ignored: tuple[int, ...] = ()
    """errno values that are no failure (EEXIST of what may be there already)."""


@dataclass(frozen=True, slots=True)
class Link:
    index: int
    name: str
    mac: str
    up: bool


class Route(NamedTuple):
    destination: str
    """`10.0.0.7/32`, `0.0.0.0/0`."""
    interface: int
    table: int


class Rule(NamedTuple):
    priority: int
    source: str
    """`10.0.0.7/32`, empty for all."""
    destination: str
    table: int
    mark: int = 0
    """Also the mask."""


def _attribute(kind: int, payload: bytes) -> bytes:
    padding = -len(payload) % 4
    return struct.pack("=HH", len(payload) + 4, kind) + payload + bytes(padding)


def _text(kind: int, value: str) -> bytes:
    return _attribute(kind, value.encode() + b"\0")


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("=I", value))


def _mac(value: str) -> bytes:
    return bytes.fromhex(value.replace(":", ""))


# -- messages --------------------------------------------------------------------------------------------------------


def veth(name: str, mac: str, peer: str, peer_mac: str, *, peer_namespace: int, mtu: int) -> Message:
    """A pair, up on this side; `peer_namespace` is a file descriptor."""
    other = _LINK.pack(0, 0, 0, 0, 0) + _text(3, peer) + _attribute(1, _mac(peer_mac)) + _number(4, mtu)
    other += _number(28, peer_namespace)
    data = _attribute(2 | _NESTED, _attribute(1 | _NESTED, other))
    info = _attribute(18 | _NESTED, _text(1, "veth") + data)
    body = _LINK.pack(0, 0, 0, _UP, _UP) + _text(3, name) + _attribute(1, _mac(mac)) + _number(4, mtu) + info
    return Message(NEW_LINK, ADD, body)


def link_up(index: int, mtu: int | None = None) -> Message:
    return Message(NEW_LINK, 0, _LINK.pack(0, 0, index, _UP, _UP) + (_number(4, mtu) if mtu else b""))


def link_deleted(name: str) -> Message:
    return Message(DELETE_LINK, 0, _LINK.pack(0, 0, 0, 0, 0) + _text(3, name), (19,))


def address(index: int, value: str, prefix: int, *, prefix_route: bool = True) -> Message:
    packed = socket.inet_aton(value)
    body = _ADDRESS.pack(socket.AF_INET, prefix, 0, SCOPE_GLOBAL, index) + _attribute(2, packed) + _attribute(1, packed)
    if not prefix_route:
        body += _number(8, _NO_PREFIX_ROUTE)
    return Message(NEW_ADDRESS, PUT, body)


def route(
    destination: str,
    index: int,
    *,
    gateway: str = "",
    table: int = TABLE_MAIN,
    scope: int = SCOPE_GLOBAL,
    type: int = NEW_ROUTE,
) -> Message:
    network = IPv4Network(destination)
    body = _ROUTE.pack(
        socket.AF_INET, network.prefixlen, 0, 0, min(table, 252) if table > 255 else table, _PROTOCOL_STATIC, scope,
        _UNICAST, 0,
    )  # fmt: skip
    if network.prefixlen:
        body += _attribute(1, network.network_address.packed)
    body += _number(4, index) + _number(15, table)
    if gateway:
        body += _attribute(5, socket.inet_aton(gateway))
    return Message(type, PUT if type == NEW_ROUTE else 0, body, () if type == NEW_ROUTE else (3,))


def neighbour(index: int, value: str, mac: str) -> Message:
    body = _NEIGHBOUR.pack(socket.AF_INET, index, _PERMANENT, 0, _UNICAST)
    return Message(NEW_NEIGHBOUR, PUT, body + _attribute(1, socket.inet_aton(value)) + _attribute(2, _mac(mac)))


def rule(item: Rule, *, delete: bool = False) -> Message:
    source = IPv4Network(item.source) if item.source else None
    target = IPv4Network(item.destination) if item.destination else None
    body = _ROUTE.pack(
        socket.AF_INET, target.prefixlen if target else 0, source.prefixlen if source else 0, 0, item.table, 0, 0,
        _TO_TABLE, 0,
    )  # fmt: skip
    if target:
        body += _attribute(1, target.network_address.packed)
    if source:
        body += _attribute(2, source.network_address.packed)
    body += _number(6, item.priority) + _number(15, item.table)
    if item.mark:
        body += _number(10, item.mark) + _number(16, item.mark)
    return Message(DELETE_RULE, 0, body, (2,)) if delete else Message(NEW_RULE, ADD, body, (17,))


# -- the socket ------------------------------------------------------------------------------------------------------


class Netlink:
    """A context manager; not for several threads at once."""

    def __init__(self, family: int = 0) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
        self._socket.bind((0, 0))
        self._socket.settimeout(10)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def apply(self, messages: Iterable[Message]) -> None:
        """All in one datagram, in order. Raises `NetlinkError` for the first refusal, after all were tried."""
        waiting: dict[int, Message] = {}
        packed = bytearray()
        for message in messages:
            self._sequence += 1
            waiting[self._sequence] = message
            packed += self._packed(message, _REQUEST | _ACK | message.flags)
        failure: NetlinkError | None = None
        if packed:
            self._socket.send(packed)
        while waiting:
            for kind, sequence, body in self._received():
                if kind != _ERROR or sequence not in waiting:
                    continue
                message = waiting.pop(sequence)
                code = -struct.unpack_from("=i", body)[0]
                if code and code not in message.ignored and failure is None:
                    failure = NetlinkError(code, f"rtnetlink message {message.type}: {os.strerror(code)}")
        if failure is not None:
            raise failure

    def links(self) -> list[Link]:
        found = []
        for body in self.dump(GET_LINK, _LINK.pack(0, 0, 0, 0, 0), NEW_LINK):
            _, _, index, flags, _ = _LINK.unpack_from(body)
            parts = attributes(body[_LINK.size :])
            name = parts.get(3, b"").rstrip(b"\0").decode()
            found.append(Link(index, name, parts.get(1, b"").hex(":"), bool(flags & _UP)))
        return found

    def routes(self, table: int = TABLE_MAIN) -> list[Route]:
        found = []
        for body in self.dump(GET_ROUTE, _ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0), NEW_ROUTE):
            prefix, parts = body[1], attributes(body[_ROUTE.size :])
            number = struct.unpack("=I", parts[15])[0] if 15 in parts else body[4]
            if number == table and 4 in parts:
                target = socket.inet_ntoa(parts.get(1, bytes(4)))
                found.append(Route(f"{target}/{prefix}", struct.unpack("=I", parts[4])[0], number))
        return found

    def rules(self) -> list[Rule]:
        found = []
        for body in self.dump(GET_RULE, _ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0), NEW_RULE):
            parts = attributes(body[_ROUTE.size :])
            priority, table, mark = (
                struct.unpack("=I", parts[kind])[0] if kind in parts else 0 for kind in (6, 15, 10)
            )
            source = f"{socket.inet_ntoa(parts[2])}/{body[2]}" if 2 in parts else ""
            target = f"{socket.inet_ntoa(parts[1])}/{body[1]}" if 1 in parts else ""
            found.append(Rule(priority, source, target, table or body[4], mark))
        return found

    def _packed(self, message: Message, flags: int) -> bytes:
        length = _HEADER.size + len(message.body)
        return _HEADER.pack(length, message.type, flags, self._sequence, 0) + message.body + bytes(-length % 4)

    def dump(self, type: int, body: bytes, answer: int) -> Iterator[bytes]:
        """The bodies of all messages of type `answer`."""
        self._sequence += 1
        self._socket.send(self._packed(Message(type, 0, body), _REQUEST | _DUMP))
        while True:
            for kind, sequence, content in self._received():
                if sequence != self._sequence:
                    continue
                if kind in (_DONE, _ERROR):
                    return
                if kind == answer:
                    yield content

    def _received(self) -> Iterator[tuple[int, int, bytes]]:
        data = self._socket.recv(_RECEIVE_BYTES)
        position = 0
        while position < len(data):
            length, kind, _, sequence, _ = _HEADER.unpack_from(data, position)
            yield kind, sequence, data[position + _HEADER.size : position + length]
            position += (length + 3) & ~3


def attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    position = 0
    while position + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, position)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[position + 4 : position + length]
        position += (length + 3) & ~3
    return found


# -- namespaces ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def inside(namespace: int) -> Iterator[None]:
    """The calling thread is in the network namespace of a file descriptor. Never use it on the event loop's thread."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(namespace)
        try:
            yield
        finally:
            _enter(own)
    finally:
        os.close(own)


def _enter(namespace: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(namespace, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")
