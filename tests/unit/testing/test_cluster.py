"""A throwaway cluster on the test's own event loop."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest

from tests.unit.testing.objects import config_map, deployment, job
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.http import HttpClient
from twinplane.kubeclient.meta import condition_is
from twinplane.kubeclient.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    EVENTS,
    JOBS,
    NAMESPACES,
    NODES,
    PODS,
    SERVICE_ACCOUNTS,
    SERVICES,
)
from twinplane.testing import Cluster, cluster
from twinplane.testing.kubeconfigs import read_kubeconfig
from twinplane.testing.virtual_time import VirtualClock, virtual_time


@pytest.fixture
async def empty() -> AsyncIterator[Cluster]:
    async with cluster() as made:
        yield made


async def test_begins_at_rest_with_what_every_cluster_has(empty: Cluster) -> None:
    client = empty.client()
    names = {body["metadata"]["name"] for body in (await client.list(NAMESPACES)).items}
    assert names == {"default", "kube-system", "kube-public", "kube-node-lease"}
    for name in names:
        await client.get(SERVICE_ACCOUNTS, "default", name)
        root = await client.get(CONFIG_MAPS, "kube-root-ca.crt", name)
        assert root["data"]["ca.crt"] == empty.certificate_authority
    await client.get(SERVICES, "kubernetes", "default")
    assert (await client.list(NODES)).items == []


async def test_deployment_runs_on_simulated_nodes() -> None:
    async with cluster(nodes=2) as made:
        client = made.client()
        await client.create(DEPLOYMENTS, deployment(replicas=4))
        await made.settle()
        found = await client.get(DEPLOYMENTS, "web", "default")
        assert found["status"]["readyReplicas"] == 4
        pods = (await client.list(PODS, "default")).items
        assert {pod["status"]["phase"] for pod in pods} == {"Running"}
        assert len({pod["status"]["podIP"] for pod in pods}) == 4
        assert len({pod["spec"]["nodeName"] for pod in pods}) == 2


@virtual_time
async def test_node_that_is_terminated_goes_and_its_pods_are_replaced(clock: VirtualClock) -> None:
    async with cluster(nodes=2) as made:
        client = made.client()
        await client.create(DEPLOYMENTS, deployment(replicas=3))
        await made.settle()
        gone, kept = (body["metadata"]["name"] for body in (await client.list(NODES)).items)
        await made.terminate_node(gone)
        await made.settle()
        assert [body["metadata"]["name"] for body in (await client.list(NODES)).items] == [kept]
        began = clock.now()
        # As upstream, pods of a node that is gone are collected after a while, in case it comes back.
        while {pod["spec"]["nodeName"] for pod in (await client.list(PODS, "default")).items} != {kept}:
            await asyncio.sleep(5)
        assert clock.now() - began < 120
        await made.settle()
        assert (await client.get(DEPLOYMENTS, "web", "default"))["status"]["readyReplicas"] == 3


async def test_nodes_are_as_asked_for() -> None:
    async with cluster(nodes=4, zones=2, instance_type="c5.xlarge") as made:
        extra = await made.add_nodes(
            1, instance_type="m7g.large", labels={"pool": "arm"}, taints=["arch=arm:NoSchedule"]
        )
        nodes = (await made.client().list(NODES)).items
        assert all(condition_is(node, "Ready") for node in nodes)
        zones = [node["metadata"]["labels"]["topology.kubernetes.io/zone"] for node in nodes]
        assert sorted(set(zones)) == ["us-west-2a", "us-west-2b"]
        (arm,) = [node for node in nodes if node["metadata"]["name"] in extra]
        assert arm["status"]["nodeInfo"]["architecture"] == "arm64"
        assert arm["metadata"]["labels"]["pool"] == "arm"
        assert arm["spec"]["taints"] == [{"key": "arch", "value": "arm", "effect": "NoSchedule"}]
        assert {node["status"]["capacity"]["cpu"] for node in nodes} == {"4", "2"}


async def test_users_pass_authorization(empty: Cluster) -> None:
    jane = empty.client("jane", ["team"])
    with pytest.raises(ApiError) as caught:
        await jane.list(PODS, "default")
    assert caught.value.code == 403
    assert 'User "jane" cannot list resource "pods"' in caught.value.message


async def test_sockets_speak_tls_and_know_the_token(empty: Cluster) -> None:
    trust = ssl.create_default_context(cadata=empty.certificate_authority)

    async def token() -> str:
        return empty.token

    async with HttpClient(empty.url, trust, token) as client:
        created = await client.create(CONFIG_MAPS, config_map("a", x="1"))
    assert await empty.client().get(CONFIG_MAPS, "a", "default") == created
    async with HttpClient(empty.url, trust) as anonymous:
        with pytest.raises(ApiError, match="system:anonymous"):
            await anonymous.list(PODS, "default")


async def test_kubeconfig_of_a_user_carries_a_certificate(empty: Cluster) -> None:
    path = empty.kubeconfig.with_name("jane")
    path.write_text(empty.kubeconfig_text("jane", ["system:masters"]))
    access = read_kubeconfig(path)
    path.unlink()
    async with HttpClient(access.url, access.context) as client:
        assert (await client.list(NAMESPACES)).items


async def test_logs_come_from_the_simulated_kubelet() -> None:
    async with cluster(nodes=1) as made:
        client = made.client()
        await client.create(DEPLOYMENTS, deployment(replicas=1))
        await made.settle()
        (pod,) = (await client.list(PODS, "default")).items
        trust = ssl.create_default_context(cadata=made.certificate_authority)
        import aiohttp

        headers = {"authorization": f"Bearer {made.token}"}
        path = f"/api/v1/namespaces/default/pods/{pod['metadata']['name']}/log"
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(f"{made.url}{path}", ssl=trust) as answer,
        ):
            assert answer.status == 200
            assert await answer.text()


async def test_clusters_do_not_see_one_another() -> None:
    async with cluster() as one, cluster() as other:
        assert one.url != other.url
        await one.client().create(CONFIG_MAPS, config_map("only-here"))
        with pytest.raises(ApiError, match="not found"):
            await other.client().get(CONFIG_MAPS, "only-here", "default")


@pytest.mark.parametrize("version", ["1.33", "1.34", "1.35"])
async def test_other_versions(version: str) -> None:
    async with cluster(version=version) as made:
        assert made.version == version


async def test_unknown_version_is_refused() -> None:
    with pytest.raises(ValueError, match=r"1\.12"):
        async with cluster(version="1.12"):
            pass


async def test_failing_test_body_closes_the_cluster() -> None:
    before = len(asyncio.all_tasks())
    paths = []

    async def body() -> None:
        async with cluster() as made:
            paths.append(made.kubeconfig)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await body()
    assert not paths[0].parent.exists()
    assert len(asyncio.all_tasks()) == before


async def test_settling_tells_who_is_busy() -> None:
    async with cluster(nodes=1) as made:
        await made.client().create(DEPLOYMENTS, deployment())
        with pytest.raises(TimeoutError, match="did not settle in 0 s, because of "):
            await made.settle(timeout=0.0)
        await made.settle()


@virtual_time
async def test_backoff_of_a_job_takes_no_time(clock: VirtualClock) -> None:
    """Three failures with upstream's back-off of 10 s and 20 s between them."""
    began = clock.now()
    async with cluster(nodes=1) as made:
        client = made.client()
        await client.create(JOBS, job(exit_code=1, backoffLimit=2))
        while not condition_is(found := await client.get(JOBS, "once", "default"), "Failed"):
            await asyncio.sleep(1)
        assert found["status"]["failed"] == 3
        assert 30 <= clock.now() - began <= 60
        events = (await client.list(EVENTS, "default")).items
        assert "BackoffLimitExceeded" in {event["reason"] for event in events}
        with pytest.raises(RuntimeError, match="no sockets"):
            made.url  # noqa: B018 - it is the reading that is refused


@virtual_time
async def test_settling_waits_for_a_short_job_in_virtual_time() -> None:
    async with cluster(nodes=1) as made:
        client = made.client()
        await client.create(JOBS, job())
        await made.settle()
        assert condition_is(await client.get(JOBS, "once", "default"), "Complete")
