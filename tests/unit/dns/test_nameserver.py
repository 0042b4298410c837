"""Queries on the wire: real packets through the responder, and through sockets."""

from __future__ import annotations

import asyncio
import struct
from random import Random

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from tests.unit.dns.cluster import Cluster, service, slice_of
from twinplane.dataplane.network.dns.hosts import Hosts
from twinplane.dataplane.network.dns.zone import ClusterZone
from twinplane.nameserver.forwarding import Forwarder
from twinplane.nameserver.responder import Responder
from twinplane.nameserver.server import serving

MANY = [{"addresses": [f"192.168.{i // 250}.{i % 250}"], "conditions": {"ready": True}} for i in range(300)]
CLUSTER = Cluster(
    service("web", clusterIP="10.100.1.2", ports=[]),
    service("alias", type="ExternalName", externalName="web.default.svc.cluster.local"),
    service("away", type="ExternalName", externalName="example.org"),
    service("many"),
    slice_of("many", *MANY),
)


class Elsewhere:
    """Whoever is asked for other names."""

    def __init__(self, records: dict[str, str]) -> None:
        self.records = records
        self.asked: list[str] = []

    async def resolve(self, wire: bytes, name: str, over_tcp: bool) -> bytes | None:
        self.asked.append(name)
        if name not in self.records:
            return None
        response = dns.message.make_response(dns.message.from_wire(wire))
        response.answer.append(dns.rrset.from_text(name, 60, "IN", "A", self.records[name]))
        return response.to_wire()


def responder(elsewhere: Elsewhere | Forwarder | None = None) -> Responder:
    return Responder([ClusterZone(CLUSTER)], elsewhere or Elsewhere({"example.org.": "203.0.113.9"}), Random(1))


async def ask(query: dns.message.Message, **more: bool) -> dns.message.Message:
    answer = await responder().respond(query.to_wire(), **more)
    assert answer is not None
    return dns.message.from_wire(answer)


async def test_the_question_is_answered_in_its_own_letters() -> None:
    answer = await ask(dns.message.make_query("WEB.default.svc.Cluster.local", "A"))
    assert answer.flags & dns.flags.AA
    assert answer.answer[0].to_text() == "WEB.default.svc.Cluster.local. 5 IN A 10.100.1.2"


async def test_a_name_that_is_none() -> None:
    answer = await ask(dns.message.make_query("none.default.svc.cluster.local", "A"))
    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert answer.authority[0].rdtype == dns.rdatatype.SOA


async def test_external_names_are_followed_here_and_elsewhere() -> None:
    own = await ask(dns.message.make_query("alias.default.svc.cluster.local", "A"))
    assert [item[0].to_text() for item in own.answer] == ["web.default.svc.cluster.local.", "10.100.1.2"]
    other = await ask(dns.message.make_query("away.default.svc.cluster.local", "A"))
    assert [item[0].to_text() for item in other.answer] == ["example.org.", "203.0.113.9"]


async def test_other_names_are_forwarded_and_fail_as_servfail() -> None:
    assert (await ask(dns.message.make_query("example.org", "A"))).answer[0][0].to_text() == "203.0.113.9"
    assert (await ask(dns.message.make_query("example.net", "A"))).rcode() == dns.rcode.SERVFAIL


async def test_what_does_not_fit_is_cut_for_udp_and_whole_for_tcp() -> None:
    query = dns.message.make_query("many.default.svc.cluster.local", "A")
    cut = await ask(query)
    assert cut.flags & dns.flags.TC
    whole = await ask(query, over_tcp=True)
    assert len(whole.answer[0]) == 300


@pytest.mark.parametrize("wire", [b"", b"\x00", b"\x12\x34" + bytes(5)])
async def test_what_is_no_query_gets_no_answer(wire: bytes) -> None:
    assert await responder().respond(wire) is None


async def test_bad_queries_are_refused() -> None:
    broken = b"\x12\x34\x01\x00\x00\x01" + bytes(6) + b"\xff\xff"
    answer = await responder().respond(broken)
    assert answer is not None
    assert (answer[:2], answer[3] & 15) == (b"\x12\x34", dns.rcode.FORMERR)
    update = dns.message.make_query("web.default.svc.cluster.local", "A")
    update.set_opcode(dns.opcode.NOTIFY)
    assert (await ask(update)).rcode() == dns.rcode.NOTIMP


async def test_sockets_and_a_forwarder_that_remembers() -> None:
    elsewhere = Elsewhere({"example.org.": "203.0.113.9"})
    async with serving(responder(elsewhere), "127.0.0.1", 0) as upstream:
        forwarder = Forwarder([("127.0.0.1", upstream)])
        async with serving(
            Responder([Hosts({"h.test.": ["192.0.2.1"]})], forwarder, Random(1)), "127.0.0.1", 0
        ) as port:
            query = dns.message.make_query("example.org", "A")
            for _ in range(2):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(struct.pack("!H", len(query.to_wire())) + query.to_wire())
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                answer = dns.message.from_wire(await reader.readexactly(length))
                writer.close()
                assert answer.answer[0][0].to_text() == "203.0.113.9"
            assert elsewhere.asked == ["example.org."]


async def test_zones_have_servers_of_their_own() -> None:
    async with (
        serving(responder(Elsewhere({"a.corp.": "192.0.2.7"})), "127.0.0.1", 0) as corporate,
        serving(responder(), "127.0.0.1", 0) as general,
    ):
        forwarder = Forwarder([("127.0.0.1", general)], {"corp.": [("127.0.0.1", corporate)]})
        for name, expected in (("a.corp.", "192.0.2.7"), ("example.org.", "203.0.113.9")):
            answer = await forwarder.resolve(dns.message.make_query(name, "A").to_wire(), name, False)
            assert answer is not None
            assert dns.message.from_wire(answer).answer[0][0].to_text() == expected
