"""The Corefile as EKS ships it, as people extend it, and what is refused."""

from __future__ import annotations

import pytest

from twinplane.dataplane.network.dns.corefile import DEFAULT, CorefileError, parse
from twinplane.dataplane.network.dns.hosts import Hosts
from twinplane.nameserver.contract import NOT_OURS


def test_the_default() -> None:
    corefile = parse(DEFAULT.replace("/etc/resolv.conf", "192.0.2.53"))
    assert corefile.cluster_zones == ["cluster.local."]
    assert corefile.forward == {".": [("192.0.2.53", 53)]}
    assert corefile.ttl == 5


def test_stub_zones_ttl_and_hosts() -> None:
    corefile = parse(
        """
        # a comment
        .:53 {
            kubernetes cluster.local {
                ttl 30
            }
            hosts {
                192.0.2.8 db.corp.example api.corp.example
                fallthrough
            }
            forward . 192.0.2.53:5353
        }
        corp.example:53 {
            cache 30
            forward . 192.0.2.1 tcp://192.0.2.2:54
        }
        """
    )
    assert corefile.ttl == 30
    assert corefile.forward == {
        ".": [("192.0.2.53", 5353)],
        "corp.example.": [("192.0.2.1", 53), ("192.0.2.2", 54)],
    }
    hosts = Hosts(corefile.hosts)
    assert hosts.answer("api.corp.example.", "A").records[0].value == "192.0.2.8"
    assert hosts.answer("api.corp.example.", "AAAA").records == ()
    assert hosts.answer("other.example.", "A") is NOT_OURS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (".:53 {\n whoami\n}", "Corefile:2 - Error during parsing: Unknown directive 'whoami'"),
        (".:53 {\n errors\n", "Corefile:2 - Syntax error: Unexpected EOF"),
        ("}\n", "Corefile:1 - Syntax error: Unexpected '}'"),
        (".:53 {\n forward .\n}", "Corefile:2 - Error during parsing: Wrong argument count for forward"),
        (".:53 {\n forward . a:b\n}", "Corefile:2 - Error during parsing: not an IP address or file: 'a:b'"),
        ("{\n}", "Corefile:1 - Syntax error: Unexpected '{', expecting a directive"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(CorefileError) as refusal:
        parse(text)
    assert str(refusal.value) == message
