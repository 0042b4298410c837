"""All controllers against the real API server in memory: what the fake does not check (validation, defaults)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from hashlib import sha256
from random import Random

from tests.unit.api.harness import Api, api_server, types
from tests.unit.controllers import (
    test_daemonset,
    test_deployment,
    test_job,
    test_job_policies,
    test_statefulset,
    test_volumes,
)
from tests.unit.controllers import test_horizontal_pod_autoscaler as test_hpa
from tests.unit.controllers.world import running_status

from twinplane.clock import SystemClock
from twinplane.controlplane.admission.contract import AdmissionRequest
from twinplane.controlplane.admission.namespace_lifecycle import NamespaceLifecycle
from twinplane.controlplane.admission.plugin import Plugin
from twinplane.controlplane.api.objects.reader import CacheReader
from twinplane.controlplane.composition import collected_types
from twinplane.controlplane.controllers.all import controllers
from twinplane.controlplane.controllers.contract import Context
from twinplane.controlplane.controllers.persistentvolume.volumes import DEFAULT_CLASS, STORAGE_PROVISIONER
from twinplane.controlplane.controllers.runner import ControllerRunner, Outcome
from twinplane.kubeclient.contract import KubeClient, Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.event_recorder import EventBroadcaster
from twinplane.kubeclient.informer import SharedInformer, SharedInformers
from twinplane.kubeclient.meta import (
    annotations_of,
    condition_is,
    condition_of,
    is_deleting,
    labels_of,
    name_of,
    namespace_of,
)
from twinplane.kubeclient.resources import (
    CONFIG_MAPS,
    DAEMON_SETS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    HORIZONTAL_POD_AUTOSCALERS,
    IP_ADDRESSES,
    JOBS,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    REPLICA_SETS,
    SERVICE_CIDRS,
    SERVICES,
    STATEFUL_SETS,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
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


class Lifecycle(Plugin):
    """NamespaceLifecycle, which needs the API server that it is part of."""

    name = "NamespaceLifecycle"
    by_type = False

    def __init__(self) -> None:
        self.plugin: NamespaceLifecycle | None = None

    def handles(self, request: AdmissionRequest) -> bool:
        return self.plugin is not None and self.plugin.handles(request)

    async def admit(self, request: AdmissionRequest) -> None:
        assert self.plugin is not None
        await self.plugin.admit(request)


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
        """Within a minute, or the test fails."""
        async with asyncio.timeout(60):
            while True:
                found = self.informers.of(resource).get(name, ns if resource.namespaced else "")
                if found is not None and holds(found):
                    return
                await asyncio.sleep(0.005)

    async def until_gone(self, resource: Resource, namespace: str = "default") -> None:
        async with asyncio.timeout(60):
            while (await self.client.list(resource, namespace)).items:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def cluster(options: Mapping[str, str] | None = None) -> AsyncIterator[Cluster]:
    registry, _ = types()
    lifecycle = Lifecycle()
    async with api_server(admission=[lifecycle]) as api:
        lifecycle.plugin = NamespaceLifecycle(CacheReader(api.runtime.cache, registry), api.client)
        found = Cluster(api)
        broadcaster = EventBroadcaster(found.client, CLOCK)
        context = Context(found.client, found.informers, CLOCK, Random(1), broadcaster.recorder("tests"), options or {})
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
        async with asyncio.timeout(60):
            while True:
                found = await world.client.list(ENDPOINT_SLICES, "default", label_selector=selector)
                if [len(entry.get("endpoints") or []) for entry in found.items] == [10]:
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
        # Nobody goes on writing when everything is as it should be.
        revision = -1
        while revision != world.store.revision:
            revision = world.store.revision
            await asyncio.sleep(0.05)


async def test_volumes_from_claim_to_attachment() -> None:
    async with cluster() as world:
        await world.client.create(PERSISTENT_VOLUMES, test_volumes.volume("v", "2Gi"))
        await world.client.create(PERSISTENT_VOLUME_CLAIMS, test_volumes.claim(), "default")
        bound = condition_of_phase("Bound")
        await world.until(PERSISTENT_VOLUME_CLAIMS, "data", bound)
        await world.until(PERSISTENT_VOLUMES, "v", bound)
        pod = test_volumes.pod("app", "n1")
        pod["spec"]["containers"][0]["image"] = "app:1"
        await world.client.create(PODS, pod, "default")
        name = "csi-" + sha256(b"vol-vebs.csi.aws.comn1").hexdigest()
        await world.until(VOLUME_ATTACHMENTS, name, lambda body: body["spec"]["nodeName"] == "n1")
        attached = {"status": {"attached": True}}
        await world.client.patch(VOLUME_ATTACHMENTS, name, attached, subresource="status")
        await world.until(NODES, "n1", lambda body: body["status"].get("volumesAttached"))
        await world.client.delete(PODS, "app", "default", grace_period_seconds=0)
        await world.until_gone(VOLUME_ATTACHMENTS)
        await world.client.delete(PERSISTENT_VOLUME_CLAIMS, "data", "default")
        await world.until(PERSISTENT_VOLUMES, "v", condition_of_phase("Released"))


async def test_a_class_for_claims_that_came_before_it() -> None:
    async with cluster() as world:
        body = test_volumes.claim()
        del body["spec"]["storageClassName"]
        await world.client.create(PERSISTENT_VOLUME_CLAIMS, body, "default")
        await world.until(PERSISTENT_VOLUME_CLAIMS, "data", condition_of_phase("Pending"))
        default = test_volumes.storage_class("gp3", annotations={DEFAULT_CLASS[0]: "true"})
        await world.client.create(STORAGE_CLASSES, default)
        asked = STORAGE_PROVISIONER
        await world.until(PERSISTENT_VOLUME_CLAIMS, "data", lambda body: asked in annotations_of(body))


def condition_of_phase(phase: str) -> Callable[[Object], object]:
    return lambda body: (body.get("status") or {}).get("phase") == phase


async def test_an_autoscaler_without_metrics_keeps_to_its_bounds() -> None:
    async with cluster() as world:
        await world.client.create(DEPLOYMENTS, test_deployment.deployment(2), "default")
        await world.until(DEPLOYMENTS, "web", available(2))
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
        silent = test_hpa.autoscaler(scaleTargetRef=target)
        silent["metadata"]["name"] = "silent"
        await world.client.create(HORIZONTAL_POD_AUTOSCALERS, silent, "default")

        def says_why(body: Object) -> bool:
            condition = condition_of(body, "ScalingActive") or {}
            shown = (body.get("status") or {}).get("currentMetrics")
            return condition.get("reason") == "FailedGetResourceMetric" and shown == [{"type": ""}]

        await world.until(HORIZONTAL_POD_AUTOSCALERS, "silent", says_why)
        body = test_hpa.autoscaler(scaleTargetRef=target, minReplicas=3)
        await world.client.create(HORIZONTAL_POD_AUTOSCALERS, body, "default")
        await world.until(DEPLOYMENTS, "web", available(3))


async def test_jobs_with_policies() -> None:
    async with cluster() as world:
        rules = [{"succeededIndexes": "0-1"}]
        body = test_job.job(
            completionMode="Indexed",
            completions=3,
            parallelism=2,
            backoffLimitPerIndex=1,
            successPolicy={"rules": rules},
            podFailurePolicy={"rules": [test_job_policies.FAIL_ON_42, test_job_policies.IGNORE_DISRUPTION]},
            podReplacementPolicy="Failed",
        )
        await world.client.create(JOBS, body, "default")
        await world.until(JOBS, "work", lambda body: condition_is(body, "Complete"))
        job = await world.client.get(JOBS, "work", "default")
        assert job["status"]["completedIndexes"] in ("0,1", "0-2")


async def test_ranges_and_addresses() -> None:
    async with cluster({"service-cidr": "10.100.0.0/16"}) as world:
        await world.until(SERVICE_CIDRS, "kubernetes", lambda body: condition_is(body, "Ready"))
        spec = {"ports": [{"port": 80}], "clusterIP": "10.100.0.9"}
        await world.client.create(SERVICES, {"metadata": {"name": "web"}, "spec": spec}, "default")
        await world.until(IP_ADDRESSES, "10.100.0.9", lambda body: body["spec"]["parentRef"]["name"] == "web")
        subsets = [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 80}]}]
        await world.client.create(ENDPOINTS, {"metadata": {"name": "web"}, "subsets": subsets}, "default")
        selector = "kubernetes.io/service-name=web"
        async with asyncio.timeout(60):
            while not (await world.client.list(ENDPOINT_SLICES, "default", label_selector=selector)).items:
                await asyncio.sleep(0.005)


async def test_a_namespace_from_start_to_end() -> None:
    async with cluster() as world:
        await world.client.create(NAMESPACES, {"metadata": {"name": "shop"}})
        await world.until(CONFIG_MAPS, "kube-root-ca.crt", lambda body: body["data"], "shop")
        body = test_deployment.deployment(3)
        body["metadata"]["namespace"] = "shop"
        await world.client.create(DEPLOYMENTS, body, "shop")
        await world.until(DEPLOYMENTS, "web", available(3), "shop")
        await world.client.delete(NAMESPACES, "shop")
        async with asyncio.timeout(60):
            while world.informers.of(NAMESPACES).get("shop") is not None:
                await asyncio.sleep(0.01)
        for resource in (DEPLOYMENTS, REPLICA_SETS, PODS, CONFIG_MAPS):
            assert (await world.client.list(resource, "shop")).items == []
