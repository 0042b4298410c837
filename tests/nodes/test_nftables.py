"""nft takes every transaction that the pure builders can make: their property tests' worlds, in a real kernel."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.nodes.namespaces import missing, namespaces
from tests.unit.network_policy import test_rules as policy_worlds
from tests.unit.proxy import test_rules as proxy_worlds
from twinplane.dataplane.network import nftables
from twinplane.dataplane.network.nftables import Ruleset, difference, transaction
from twinplane.dataplane.network.policy import rules as policy
from twinplane.dataplane.network.policy.objects import Pod, Policy
from twinplane.dataplane.network.proxy import rules as proxy
from twinplane.dataplane.network.proxy.table import Table

pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(missing()), reason=missing() or "-")]

few = settings(deadline=None, max_examples=10, suppress_health_check=list(HealthCheck))


def nft(script: str) -> None:
    ran = subprocess.run(["nft", "-f", "-"], input=script, text=True, capture_output=True, check=False)
    assert ran.returncode == 0, (ran.stderr, script)


@few
@given(st.lists(proxy_worlds.worlds(), min_size=2, max_size=4))
def test_services(steps: list[dict[str, proxy_worlds.Entry | None]]) -> None:
    with namespaces() as where:
        where.add("nft")
        with where.inside("nft"):
            table = Table(proxy.frame([proxy_worlds.NODE], proxy_worlds.CIDR))
            nft(f"add table {proxy.TABLE}")
            for step in steps:
                built = {key: entry and proxy_worlds.rules_of(*entry, table) for key, entry in step.items()}
                nft(transaction(proxy.TABLE, table.update(built)[0]))


@few
@given(st.lists(st.tuples(policy_worlds.policies(), policy_worlds.pods()), min_size=2, max_size=4))
def test_policies(worlds: list[tuple[list[Policy], list[Pod]]]) -> None:
    with namespaces() as where:
        where.add("nft")
        with where.inside("nft"):
            rules = Ruleset()
            nft(nftables.replacement(policy.TABLE, rules))
            for some_policies, some_pods in [*worlds, ([], [])]:
                wanted = policy.build(some_policies, some_pods, policy_worlds.NAMESPACES, "here")
                nft(transaction(policy.TABLE, difference(rules, wanted)))
                rules = wanted
