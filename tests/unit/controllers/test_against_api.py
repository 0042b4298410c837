"""All controllers against the real API server in memory: what the fake does not check (validation, defaults)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

from tests.unit.api.harness import Api, api_server, types
from tests.unit.controllers import test_daemonset, test_deployment, test_job, test_statefulset
from tests.unit.controllers.world import running_status

from twinplane.clock import SystemClock
from twinplane.controlplane.composition import collected_types
from twinplane.controlplane.controllers.all import controllers
from twinplane.controlplane.controllers.contract import Context
from twinplane.controlplane.controllers.runner import ControllerRunner, Outcome
from twinplane.kubeclient.contract import KubeClient, Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.event_recorder import EventBroadcaster
from twinplane.kubeclient.informer import SharedInformer, SharedInformers
from twinplane.kubeclient.meta import condition_is, is_deleting, labels_of, name_of, namespace_of
from twinplane.kubeclient.resources import (
    CONFIG_MAPS,
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    JOBS,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICES,
    STATEFUL_SETS,
)

CLOCK = SystemClock()


async def kubelet(client: KubeClient) -> None:
    """Binds and runs everything at once; pods of Jobs succeed."""
    informer = SharedInformer(client, PODS)
    changed: asyncio.Queue[Object] = asyncio.Queue()
    informer.add_handler(lambda old, new: changed.put_nowait(new) if new is not None else None)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(informer.run())
        while True:
            pod = await changed.get()
            try:
                await _sync(client, pod, name_of(pod), namespace_of(pod))
            except ApiError as error:
                if error.code not in (404, 409):
                    raise


async def _sync(client: KubeClient, pod: Object, name: str, namespace: str) -> None:
    if is_deleting(pod):
        if pod["spec"].get("nodeName"):
            await client.delete(PODS, name, namespace, grace_period_seconds=0)
    elif not pod["spec"].get("nodeName"):
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}}
        target = {"target": {"kind": "Node", "name": "n1"}}
        await client.create(PODS, binding | target, namespace, name=name, subresource="binding")
    elif pod["status"].get("phase") == "Pending":
        status = running_status(CLOCK)
        if "job-name" in labels_of(pod):
            status["phase"] = "Succeeded"
        await client.patch(PODS, name, {"status": status}, namespace, subresource="status")


class Cluster:
    def __init__(self, api: Api) -> None:
        self.client: KubeClient = api.client
        self.informers = SharedInformers(self.client)
        self.surprises: list[Outcome] = []
        self.store = api.runtime.store

    def observe(self, outcome: Outcome) -> None:
        expected = isinstance(outcome.error, ApiError) and outcome.error.code in (404, 409)
        if outcome.error is not None and not expected:
            self.surprises.append(outcome)

    async def until(
        self, resource: Resource, name: str, holds: Callable[[Object], object], ns: str = "default"
    ) -> None:
        """Within five seconds, or the test fails."""
        async with asyncio.timeout(5):
            while True:
                found = self.informers.of(resource).get(name, ns if resource.namespaced else "")
                if found is not None and holds(found):
                    return
                await asyncio.sleep(0.005)

    async def until_gone(self, resource: Resource, namespace: str = "default") -> None:
        async with asyncio.timeout(5):
            while (await self.client.list(resource, namespace)).items:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def cluster() -> AsyncIterator[Cluster]:
    registry, _ = types()
    async with api_server() as api:
        found = Cluster(api)
        broadcaster = EventBroadcaster(found.client, CLOCK)
        context = Context(found.client, found.informers, CLOCK, Random(1), broadcaster.recorder("tests"), {})
        every = controllers(
            context,
            types=lambda: collected_types(registry),
            root_certificate="PEM",
            recorders=broadcaster.recorder,
        )
        runner = ControllerRunner(every, found.informers, observe=found.observe)
        tasks = [asyncio.create_task(part) for part in (runner.run(), broadcaster.run(), kubelet(found.client))]
        await runner.started.wait()
        await found.client.create(NODES, {"metadata": {"name": "n1"}})
        ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        await found.client.patch(NODES, "n1", ready, subresource="status")
        try:
            yield found
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert found.surprises == []


def available(count: int) -> Callable[[Object], object]:
    return lambda body: (body.get("status") or {}).get("availableReplicas") == count


async def test_a_deployment_with_its_service() -> None:
    async with cluster() as world:
        spec = {"selector": test_deployment.LABELS, "ports": [{"port": 80}], "clusterIP": "None"}
        await world.client.create(SERVICES, {"metadata": {"name": "web"}, "spec": spec}, "default")
        await world.client.create(DEPLOYMENTS, test_deployment.deployment(10), "default")
        await world.until(DEPLOYMENTS, "web", available(10))
        deployment = await world.client.get(DEPLOYMENTS, "web", "default")
        assert deployment["metadata"]["generation"] == 1
        assert deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
        selector = "kubernetes.io/service-name=web"
        async with asyncio.timeout(5):
            while True:
                found = await world.client.list(ENDPOINT_SLICES, "default", label_selector=selector)
                if [len(entry["endpoints"]) for entry in found.items] == [10]:
                    break
                await asyncio.sleep(0.005)
        await world.client.delete(DEPLOYMENTS, "web", "default", propagation_policy="Foreground")
        for resource in (DEPLOYMENTS, REPLICA_SETS, PODS):
            await world.until_gone(resource)


async def test_the_other_workloads() -> None:
    async with cluster() as world:
        resources = {"requests": {"storage": "1Gi"}}
        claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": resources}}
        body = test_statefulset.stateful_set(volumeClaimTemplates=[claim])
        await world.client.create(STATEFUL_SETS, body, "default")
        await world.client.create(DAEMON_SETS, test_daemonset.daemon_set(), "default")
        job = test_job.job(completions=3, parallelism=2)
        await world.client.create(JOBS, job, "default")
        await world.until(STATEFUL_SETS, "db", available(3))
        await world.until(DAEMON_SETS, "agent", lambda body: body["status"]["numberReady"] == 1)
        await world.until(JOBS, "work", lambda body: condition_is(body, "Complete"))
        revision = world.store.revision
        await asyncio.sleep(0.05)
        settled = world.store.revision
        assert settled - revision < 20


async def test_a_namespace_from_start_to_end() -> None:
    async with cluster() as world:
        await world.client.create(NAMESPACES, {"metadata": {"name": "shop"}})
        await world.until(CONFIG_MAPS, "kube-root-ca.crt", lambda body: body["data"], "shop")
        body = test_deployment.deployment(3)
        body["metadata"]["namespace"] = "shop"
        await world.client.create(DEPLOYMENTS, body, "shop")
        await world.until(DEPLOYMENTS, "web", available(3), "shop")
        await world.client.delete(NAMESPACES, "shop")
        async with asyncio.timeout(10):
            while world.informers.of(NAMESPACES).get("shop") is not None:
                await asyncio.sleep(0.01)
        for resource in (DEPLOYMENTS, REPLICA_SETS, PODS, CONFIG_MAPS):
            assert (await world.client.list(resource, "shop")).items == []
