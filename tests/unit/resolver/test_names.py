"""Private names of instances lead to their addresses and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinplane.cloud.resolver.names import InstanceNames, LoadBalancerNames
from twinplane.nameserver.contract import Outcome

NAMES = InstanceNames("us-west-2")


@given(st.ip_addresses(v=4, network="192.168.0.0/16"))
def test_there_and_back(address: object) -> None:
    reverse = ".".join(reversed(str(address).split("."))) + ".in-addr.arpa."
    host = NAMES.answer(reverse, "PTR").records[0].value
    assert NAMES.answer(host, "A").records[0].value == str(address)


def test_the_first_region_has_a_shorter_domain() -> None:
    answer = InstanceNames("us-east-1").answer("ip-10-0-0-1.ec2.internal.", "A")
    assert [record.value for record in answer.records] == ["10.0.0.1"]


@pytest.mark.parametrize(
    ("name", "kind", "outcome"),
    [
        ("ip-192-168-0-6.us-west-2.compute.internal.", "AAAA", Outcome.FOUND),
        ("us-west-2.compute.internal.", "A", Outcome.FOUND),
        ("ip-192-168-0-999.us-west-2.compute.internal.", "A", Outcome.NO_SUCH_NAME),
        ("db.us-west-2.compute.internal.", "A", Outcome.NO_SUCH_NAME),
        ("6.0.168.192.in-addr.arpa.", "A", Outcome.FOUND),
        ("1.2.0.192.in-addr.arpa.", "PTR", Outcome.NOT_OURS),
        ("168.192.in-addr.arpa.", "PTR", Outcome.NOT_OURS),
        ("example.org.", "A", Outcome.NOT_OURS),
        ("ip-10-0-0-1.eu-west-1.compute.internal.", "A", Outcome.NOT_OURS),
    ],
)
def test_without_records(name: str, kind: str, outcome: Outcome) -> None:
    answer = NAMES.answer(name, kind)
    assert (answer.outcome, answer.records) == (outcome, ())


def test_load_balancers_lead_to_their_interfaces() -> None:
    known = {"net-1.elb.us-west-2.amazonaws.com": ("10.0.1.9", "10.0.2.9")}
    names = LoadBalancerNames("us-west-2", lambda name: known.get(name, ()))
    found = names.answer("net-1.elb.us-west-2.amazonaws.com.", "A")
    assert [record.value for record in found.records] == ["10.0.1.9", "10.0.2.9"]
    other = names.answer("net-1.elb.us-west-2.amazonaws.com.", "AAAA")
    assert (other.outcome, other.records, other.authority[0].type) == (Outcome.FOUND, (), "SOA")
    assert names.answer("internal-a-1.us-west-2.elb.amazonaws.com.", "A").outcome is Outcome.NO_SUCH_NAME
    assert names.answer("a-1.eu-west-1.elb.amazonaws.com.", "A").outcome is Outcome.NOT_OURS
