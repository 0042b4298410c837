"""A query on the wire to an answer on the wire: own names from sources, the rest forwarded. Called by the sockets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from twinplane.nameserver.contract import Answer, Forward, Outcome, Record, Source

UDP_BYTES_MAX = 1232
"""What is sent without fragmentation whatever the client offers (DNS flag day 2020)."""
UDP_BYTES_PLAIN = 512
"""Of a client that offers nothing (RFC 1035)."""
CHAIN_MAX = 8
"""Of CNAME records followed."""

Observer = Callable[[str, str, str], None]
"""(protocol, type, response code) of each answer, for metrics."""


class Responder:
    def __init__(
        self, sources: Sequence[Source], forward: Forward, random: Random, observe: Observer | None = None
    ) -> None:
        self._sources = sources
        self._forward = forward
        self._random = random
        self._observe = observe or (lambda protocol, kind, code: None)

    async def respond(self, wire: bytes, *, over_tcp: bool = False) -> bytes | None:
        """None for what is no query at all: it gets no answer, as RFC 1035 has it."""
        try:
            query = dns.message.from_wire(wire)
        except (dns.exception.DNSException, ValueError):
            return _format_error(wire)
        if query.flags & dns.flags.QR:
            return None
        question = query.question[0] if len(query.question) == 1 else None
        if question is None or query.opcode() != dns.opcode.QUERY:
            return self._refused(query, dns.rcode.FORMERR if question is None else dns.rcode.NOTIMP)
        name, kind = question.name.to_text().lower(), dns.rdatatype.to_text(question.rdtype)
        protocol = "tcp" if over_tcp else "udp"
        answer = self._own(name, kind)
        if answer.outcome is Outcome.NOT_OURS:
            forwarded = await self._forward.resolve(wire, name, over_tcp)
            if forwarded is not None:
                self._observe(protocol, kind, dns.rcode.to_text(dns.rcode.Rcode(forwarded[3] & 15)))
                return forwarded
            self._observe(protocol, kind, "SERVFAIL")
            return self._refused(query, dns.rcode.SERVFAIL)
        response = await self._response(query, answer, question.name, kind)
        self._observe(protocol, kind, dns.rcode.to_text(response.rcode()))
        return _encoded(response, query, over_tcp)

    def _own(self, name: str, kind: str) -> Answer:
        for source in self._sources:
            answer = source.answer(name, kind)
            if answer.outcome is not Outcome.NOT_OURS:
                return answer
        return Answer(Outcome.NOT_OURS)

    async def _response(
        self, query: dns.message.Message, answer: Answer, name: dns.name.Name, kind: str
    ) -> dns.message.Message:
        response = dns.message.make_response(query, recursion_available=True)
        if answer.authoritative:
            response.flags |= dns.flags.AA
        if answer.outcome is Outcome.NO_SUCH_NAME:
            response.set_rcode(dns.rcode.NXDOMAIN)
        response.answer = self._sets(answer.records, name)
        response.additional = self._sets(answer.additional)
        response.authority = self._sets(answer.authority)
        await self._follow(response, answer.records, kind)
        return response

    async def _follow(self, response: dns.message.Message, records: Sequence[Record], kind: str) -> None:
        """What a CNAME leads to, own or another's, so that a stub resolver has its address at once."""
        for _ in range(CHAIN_MAX):
            last = records[-1] if records else None
            if last is None or last.type != "CNAME" or kind in ("CNAME", "ANY"):
                return
            target = last.value.lower()
            own = self._own(target, kind)
            if own.outcome is not Outcome.NOT_OURS:
                records = own.records
                response.answer += self._sets(records)
                continue
            asked = dns.message.make_query(target, kind)
            found = await self._forward.resolve(asked.to_wire(), target, False)
            if found is not None:
                response.answer += dns.message.from_wire(found, ignore_trailing=True).answer
            return

    def _sets(self, records: Sequence[Record], asked: dns.name.Name | None = None) -> list[dns.rrset.RRset]:
        """Grouped as the wire wants them, addresses in random order (the `loadbalance` of CoreDNS).

        A record of the name that was asked for is answered in the letters of the question (RFC 4343).
        """
        groups: dict[tuple[str, str, int], list[str]] = {}
        for record in records:
            groups.setdefault((record.name, record.type, record.ttl), []).append(record.value)
        sets = []
        for (name, kind, ttl), values in groups.items():
            if kind in ("A", "AAAA"):
                self._random.shuffle(values)
            same = asked is not None and asked.to_text().lower() == name
            owner = asked if asked is not None and same else dns.name.from_text(name)
            sets.append(dns.rrset.from_text_list(owner, ttl, dns.rdataclass.IN, dns.rdatatype.from_text(kind), values))
        return sets

    def _refused(self, query: dns.message.Message, code: dns.rcode.Rcode) -> bytes:
        response = dns.message.make_response(query, recursion_available=True)
        response.set_rcode(code)
        return response.to_wire()


def _format_error(wire: bytes) -> bytes | None:
    if len(wire) < 12 or wire[2] & 0x80:
        return None
    return wire[:2] + bytes([0x80 | (wire[2] & 0x79), 0x80 | dns.rcode.FORMERR]) + bytes(8)


def _encoded(response: dns.message.Message, query: dns.message.Message, over_tcp: bool) -> bytes:
    if over_tcp:
        return response.to_wire(max_size=65535)
    offered = query.payload if query.edns >= 0 else UDP_BYTES_PLAIN
    most = max(UDP_BYTES_PLAIN, min(offered, UDP_BYTES_MAX))
    try:
        return response.to_wire(max_size=most)
    except dns.exception.TooBig:
        response.answer, response.additional, response.authority = [], [], []
        response.flags |= dns.flags.TC
        return response.to_wire()
