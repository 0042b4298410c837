"""The lease that shows an API server to others."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from tests.unit.api.harness import api_server
from twinplane.controlplane.api.identity_lease import NAMESPACE, RENEWAL, IdentityLease, identity_of
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import LEASES
from twinplane.testing.virtual_time import VirtualClock, virtual_time


@virtual_time
async def test_it_is_renewed_while_the_server_runs_and_gone_afterwards(clock: VirtualClock) -> None:
    async with api_server() as api:
        lease = IdentityLease(api.client, clock, Random(1), "cluster-0")
        async with lease.running():
            await asyncio.sleep(1)
            first = await api.client.get(LEASES, lease.name, NAMESPACE)
            assert first["metadata"]["labels"] == {
                "apiserver.kubernetes.io/identity": "kube-apiserver",
                "kubernetes.io/hostname": "cluster-0",
            }
            assert first["spec"]["holderIdentity"].startswith(f"{lease.name}_")
            assert first["spec"]["leaseDurationSeconds"] == 3600
            await asyncio.sleep(2 * RENEWAL)
            second = await api.client.get(LEASES, lease.name, NAMESPACE)
            assert second["spec"]["renewTime"] > first["spec"]["renewTime"]
            assert second["spec"]["holderIdentity"] == first["spec"]["holderIdentity"]
        with pytest.raises(ApiError, match="not found"):
            await api.client.get(LEASES, lease.name, NAMESPACE)


@virtual_time
async def test_those_of_servers_that_are_gone_are_collected(clock: VirtualClock) -> None:
    async with api_server() as api:
        old, own = (IdentityLease(api.client, clock, Random(1), host) for host in ("cluster-0", "cluster-1"))
        await old.renew()
        await asyncio.sleep(3000)
        await own.renew()
        await own.collect()
        assert len((await api.client.list(LEASES, NAMESPACE)).items) == 2
        await asyncio.sleep(1000)
        await own.collect()
        assert [lease["metadata"]["name"] for lease in (await api.client.list(LEASES, NAMESPACE)).items] == [own.name]


def test_names_are_of_the_form_that_upstream_has() -> None:
    name = identity_of("host")
    assert name == identity_of("host")
    assert len(name) == len("apiserver-") + 26
    assert name.islower()
