"""Others' names: asked of the servers of a resolv.conf (or given ones), kept for as long as their records last."""

from __future__ import annotations

import asyncio
import struct
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path

import dns.exception
import dns.message
import dns.rcode

Server = tuple[str, int]

SECONDS = 2.0
"""An answer is waited for, from each server in turn."""
IN_FLIGHT_MAX = 1000
CACHE_MAX = 2000
TTL_MAX = 30.0
"""As `cache 30` of EKS's Corefile."""
DENIAL_TTL = 5.0


def servers_of(path: Path) -> list[Server]:
    """The `nameserver` lines of a resolv.conf; none for a file that is not there."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return []
    words = (line.split() for line in lines)
    return [(word[1], 53) for word in words if len(word) > 1 and word[0] == "nameserver"]


class Forwarder:
    """`zones` has servers of their own for names below a zone (absolute, lower case); the longest one counts."""

    def __init__(self, servers: Sequence[Server], zones: Mapping[str, Sequence[Server]] | None = None) -> None:
        self._zones = {".": tuple(servers), **{zone: tuple(each) for zone, each in (zones or {}).items()}}
        self._room = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._cache: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()

    async def resolve(self, wire: bytes, name: str, over_tcp: bool) -> bytes | None:
        key = wire[2:].lower() + bytes([over_tcp])
        kept = self._cache.get(key)
        if kept is not None and kept[0] > asyncio.get_running_loop().time():
            return wire[:2] + kept[1][2:]
        if self._room.locked():
            return None
        async with self._room:
            for server in self._servers(name):
                answer = await _ask(server, wire, over_tcp)
                if answer is not None:
                    self._keep(key, answer)
                    return answer
        return None

    def _servers(self, name: str) -> tuple[Server, ...]:
        matching = (zone for zone in self._zones if zone in (".", name) or name.endswith("." + zone))
        return self._zones[max(matching, key=len)]

    def _keep(self, key: bytes, answer: bytes) -> None:
        seconds = _lasts(answer)
        if seconds <= 0:
            return
        self._cache[key] = (asyncio.get_running_loop().time() + seconds, answer)
        self._cache.move_to_end(key)
        if len(self._cache) > CACHE_MAX:
            self._cache.popitem(last=False)


def _lasts(answer: bytes) -> float:
    try:
        message = dns.message.from_wire(answer, ignore_trailing=True)
    except dns.exception.DNSException:
        return 0
    if message.rcode() == dns.rcode.NXDOMAIN:
        return DENIAL_TTL
    if message.rcode() != dns.rcode.NOERROR:
        return 0
    lengths = [rrset.ttl for rrset in message.answer]
    return min([*lengths, TTL_MAX]) if lengths else DENIAL_TTL


async def _ask(server: Server, wire: bytes, over_tcp: bool) -> bytes | None:
    try:
        async with asyncio.timeout(SECONDS):
            return await (_ask_tcp(server, wire) if over_tcp else _ask_udp(server, wire))
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return None


async def _ask_tcp(server: Server, wire: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(struct.pack("!H", len(wire)) + wire)
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        return await reader.readexactly(length)
    finally:
        writer.close()


class _Waiting(asyncio.DatagramProtocol):
    def __init__(self, identity: bytes) -> None:
        self._identity = identity
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        if data[:2] == self._identity and not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


async def _ask_udp(server: Server, wire: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: _Waiting(wire[:2]), remote_addr=server)
    try:
        transport.sendto(wire)
        return await protocol.answer
    finally:
        transport.close()
