"""The specification of DNS-based service discovery, case by case."""

from __future__ import annotations

import pytest

from tests.unit.dns.cluster import Cluster, service, slice_of
from twinplane.dataplane.network.dns.zone import ClusterZone
from twinplane.nameserver.contract import Answer, Outcome

HTTP = {"name": "http", "port": 80, "protocol": "TCP"}
CLUSTER = Cluster(
    service("web", clusterIP="10.100.1.2", ports=[HTTP, {"name": "metrics", "port": 9100, "protocol": "UDP"}]),
    service("kube-dns", "kube-system", clusterIP="10.100.0.10", ports=[]),
    service("db", ports=[{"name": "sql", "port": 5432, "protocol": "TCP"}]),
    service("early", publishNotReadyAddresses=True),
    service("empty"),
    service("away", type="ExternalName", externalName="example.org"),
    slice_of(
        "db",
        {"addresses": ["192.168.3.4"], "hostname": "db-0", "conditions": {"ready": True}},
        {"addresses": ["192.168.3.5"], "conditions": {}},
        {"addresses": ["192.168.3.6"], "hostname": "db-2", "conditions": {"ready": False}},
        ports=[{"name": "sql", "port": 5432, "protocol": "TCP"}],
    ),
    slice_of("early", {"addresses": ["192.168.3.7"], "conditions": {"ready": False}}),
)
ZONE = ClusterZone(CLUSTER)


def ask(name: str, kind: str = "A") -> Answer:
    return ZONE.answer(name, kind)


def values(name: str, kind: str = "A") -> list[str]:
    return [record.value for record in ask(name, kind).records]


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("web.default.svc.cluster.local.", "A", ["10.100.1.2"]),
        ("db.default.svc.cluster.local.", "A", ["192.168.3.4", "192.168.3.5"]),
        ("db-0.db.default.svc.cluster.local.", "A", ["192.168.3.4"]),
        ("192-168-3-5.db.default.svc.cluster.local.", "A", ["192.168.3.5"]),
        ("early.default.svc.cluster.local.", "A", ["192.168.3.7"]),
        ("away.default.svc.cluster.local.", "A", ["example.org."]),
        ("10-1-2-3.default.pod.cluster.local.", "A", ["10.1.2.3"]),
        ("dns-version.cluster.local.", "TXT", ['"1.1.0"']),
        ("ns.dns.cluster.local.", "A", ["10.100.0.10"]),
        ("cluster.local.", "NS", ["ns.dns.cluster.local."]),
        ("2.1.100.10.in-addr.arpa.", "PTR", ["web.default.svc.cluster.local."]),
        ("4.3.168.192.in-addr.arpa.", "PTR", ["db-0.db.default.svc.cluster.local."]),
        ("_http._tcp.web.default.svc.cluster.local.", "SRV", ["0 100 80 web.default.svc.cluster.local."]),
        (
            "_sql._tcp.db.default.svc.cluster.local.",
            "SRV",
            ["0 100 5432 db-0.db.default.svc.cluster.local.", "0 100 5432 192-168-3-5.db.default.svc.cluster.local."],
        ),
    ],
)
def test_records(name: str, kind: str, expected: list[str]) -> None:
    assert values(name, kind) == expected


def test_all_ports_of_a_service_and_their_addresses() -> None:
    answer = ask("web.default.svc.cluster.local.", "SRV")
    assert [record.value.split()[2] for record in answer.records] == ["80", "9100"]
    assert [(record.name, record.value) for record in answer.additional] == [
        ("web.default.svc.cluster.local.", "10.100.1.2")
    ]


@pytest.mark.parametrize(
    "name",
    [
        "nothing.default.svc.cluster.local.",
        "web.elsewhere.svc.cluster.local.",
        "empty.default.svc.cluster.local.",
        "db-2.db.default.svc.cluster.local.",
        "_smtp._tcp.web.default.svc.cluster.local.",
        "_http._udp.web.default.svc.cluster.local.",
        "not-an-address.default.pod.cluster.local.",
        "10-1-2-3.elsewhere.pod.cluster.local.",
        "web.default.cluster.local.",
        "elsewhere.svc.cluster.local.",
    ],
)
def test_names_that_are_none(name: str) -> None:
    answer = ask(name)
    assert answer.outcome is Outcome.NO_SUCH_NAME
    assert [record.type for record in answer.authority] == ["SOA"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("web.default.svc.cluster.local.", "AAAA"),
        ("web.default.svc.cluster.local.", "MX"),
        ("_http._tcp.web.default.svc.cluster.local.", "A"),
        ("svc.cluster.local.", "A"),
        ("default.svc.cluster.local.", "A"),
        ("cluster.local.", "A"),
        ("dns-version.cluster.local.", "A"),
        ("2.1.100.10.in-addr.arpa.", "A"),
    ],
)
def test_names_without_a_record_of_the_type(name: str, kind: str) -> None:
    answer = ask(name, kind)
    assert answer.outcome is Outcome.FOUND
    assert answer.records == ()
    assert [record.type for record in answer.authority] == (["SOA"])


@pytest.mark.parametrize(
    "name", ["example.org.", "notcluster.local.", "1.2.0.192.in-addr.arpa.", "168.192.in-addr.arpa.", "x.ip6.arpa."]
)
def test_names_of_others(name: str) -> None:
    assert ask(name, "PTR").outcome is Outcome.NOT_OURS
