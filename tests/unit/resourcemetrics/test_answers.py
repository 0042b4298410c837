"""`metrics.k8s.io` as the API server answers it: kubelets that say what they use, and clients that ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from tests.unit.api.harness import Api, NoKubelet, api_server
from twinplane.clock import rfc3339
from twinplane.controlplane.api.contract import Response
from twinplane.controlplane.api.extensions.extensions import ApiExtensions
from twinplane.controlplane.api.objects.reader import CacheReader
from twinplane.controlplane.resourcemetrics.answers import ResourceMetrics
from twinplane.controlplane.resourcemetrics.bootstrap import NAME, bootstrap_objects
from twinplane.controlplane.resourcemetrics.sampling import RESOLUTION_SECONDS
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import API_SERVICES, CLUSTER_ROLES, NODES, PODS
from twinplane.testing.virtual_time import EPOCH, VirtualClock, virtual_time

GROUP = "/apis/metrics.k8s.io/v1beta1"
TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}


def stats(cpu: int | None, memory: int) -> Object:
    cores = {} if cpu is None else {"usageNanoCores": cpu}
    return {"cpu": {"time": rfc3339(EPOCH), **cores}, "memory": {"workingSetBytes": memory}}


class Kubelets(NoKubelet):
    """Each node uses two cores and 8 GiB, container `app` of each of its pods 250m and 64 MiB."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.pods: dict[str, list[str]] = {}
        self.nonsense: set[str] = set()
        self.measuring: set[str] = set()
        """Pods of which one container has no rate yet."""

    async def get(self, node: Object, path: str, query: dict[str, str]) -> Response:
        name = node["metadata"]["name"]
        self.asked.append(name)
        assert (path, query) == ("/stats/summary", {"only_cpu_and_memory": "true"})
        await asyncio.sleep(0)
        if name not in self.pods:
            raise ApiError("InternalError", "connection refused", code=503)
        if name in self.nonsense:
            return Response(200, b"<html>")
        pods = [
            {
                "podRef": {"name": pod, "namespace": "default"},
                "containers": [
                    {"name": "app", **stats(250_000_000, 64 << 20)},
                    {"name": "side", **stats(None if pod in self.measuring else 1_000_000, 1 << 20)},
                ],
            }
            for pod in self.pods[name]
        ]
        body = orjson.dumps({"node": stats(2_000_000_000, 8 << 30), "pods": pods})

        async def pieces() -> AsyncIterator[bytes]:
            yield body[:40]
            yield body[40:]

        return Response(200, stream=pieces())


@asynccontextmanager
async def serving(clock: VirtualClock, kubelets: Kubelets) -> AsyncIterator[Api]:
    async with api_server(clock=clock, kubelet=kubelets) as api:
        reader = CacheReader(api.runtime.cache, api.runtime.registry)
        metrics = ResourceMetrics(reader, kubelets, clock)
        for kind, body in zip((API_SERVICES, CLUSTER_ROLES), bootstrap_objects(), strict=True):
            await api.client.create(kind, body)
        extensions = ApiExtensions(api.server, api.client, reader, own={NAME: metrics})
        try:
            async with extensions.running():
                for node, names in kubelets.pods.items():
                    await api.client.create(NODES, {"metadata": {"name": node, "labels": {"zone": node[-1]}}})
                    for name in names:
                        await pod(api, name, node)
                yield api
        finally:
            await metrics.close()


async def pod(api: Api, name: str, node: str, phase: str = "Running") -> None:
    spec = {"nodeName": node, "containers": [{"name": "app", "image": "x"}, {"name": "side", "image": "x"}]}
    await api.client.create(PODS, {"metadata": {"name": name, "labels": {"name": name}}, "spec": spec}, "default")
    await api.client.patch(PODS, name, {"status": {"phase": phase}}, "default", subresource="status")


def cluster() -> Kubelets:
    kubelets = Kubelets()
    kubelets.pods = {"node-a": ["p1", "p2"], "node-b": ["p3"]}
    return kubelets


def names(found: Any) -> list[str]:
    return [item["metadata"]["name"] for item in found["items"]]


@virtual_time
async def test_nodes(clock: VirtualClock) -> None:
    async with serving(clock, cluster()) as api:
        found = await api.json("GET", f"{GROUP}/nodes/node-a")
        assert found == {
            "kind": "NodeMetrics",
            "apiVersion": "metrics.k8s.io/v1beta1",
            "metadata": {"name": "node-a", "creationTimestamp": rfc3339(EPOCH), "labels": {"zone": "a"}},
            "timestamp": rfc3339(EPOCH),
            "window": "10s",
            "usage": {"cpu": "2000000000n", "memory": "8388608Ki"},
        }
        listed = await api.json("GET", f"{GROUP}/nodes")
        assert (listed["kind"], names(listed)) == ("NodeMetricsList", ["node-a", "node-b"])
        assert names(await api.json("GET", f"{GROUP}/nodes?labelSelector=zone%3Db")) == ["node-b"]
        assert await api.refused("GET", f"{GROUP}/nodes/node-c") == (
            404,
            "NotFound",
            'nodemetrics.metrics.k8s.io "node-c" not found',
        )


@virtual_time
async def test_pods(clock: VirtualClock) -> None:
    async with serving(clock, cluster()) as api:
        found = await api.json("GET", f"{GROUP}/namespaces/default/pods/p1")
        assert found["containers"] == [
            {"name": "app", "usage": {"cpu": "250000000n", "memory": "65536Ki"}},
            {"name": "side", "usage": {"cpu": "1000000n", "memory": "1024Ki"}},
        ]
        assert names(await api.json("GET", f"{GROUP}/pods")) == ["p1", "p2", "p3"]
        assert names(await api.json("GET", f"{GROUP}/namespaces/other/pods")) == []
        assert names(await api.json("GET", f"{GROUP}/pods?labelSelector=name+in+(p2,p3)")) == ["p2", "p3"]
        assert names(await api.json("GET", f"{GROUP}/pods?fieldSelector=metadata.name%3Dp3")) == ["p3"]
        assert await api.refused("GET", f"{GROUP}/namespaces/default/pods/p9") == (
            404,
            "NotFound",
            'podmetrics.metrics.k8s.io "default/p9" not found',
        )


@virtual_time
async def test_what_is_not_known_is_left_out(clock: VirtualClock) -> None:
    kubelets = cluster()
    kubelets.measuring = {"p1"}
    kubelets.nonsense = {"node-b"}
    async with serving(clock, kubelets) as api:
        await pod(api, "p4", "node-a")  # the kubelet has not seen it yet
        await pod(api, "p5", "node-a", "Succeeded")
        await pod(api, "p6", "node-z")
        assert names(await api.json("GET", f"{GROUP}/pods")) == ["p2"]
        assert names(await api.json("GET", f"{GROUP}/nodes")) == ["node-a"]


@virtual_time
async def test_kubelets_are_asked_when_somebody_asks(clock: VirtualClock) -> None:
    kubelets = cluster()
    async with serving(clock, kubelets) as api:
        await asyncio.sleep(10 * RESOLUTION_SECONDS)
        assert kubelets.asked == []
        asking = (api.json("GET", f"{GROUP}/namespaces/default/pods/p{n}") for n in (1, 2, 1))
        await asyncio.gather(*asking)
        assert kubelets.asked == ["node-a"], "once, and only the node of the pods"
        await api.json("GET", f"{GROUP}/nodes")
        assert kubelets.asked == ["node-a", "node-b"]
        await asyncio.sleep(RESOLUTION_SECONDS)
        await api.json("GET", f"{GROUP}/nodes")
        assert sorted(kubelets.asked[2:]) == ["node-a", "node-b"]


@virtual_time
async def test_tables(clock: VirtualClock) -> None:
    async with serving(clock, cluster()) as api:
        found = await api.json("GET", f"{GROUP}/namespaces/default/pods", headers=TABLE)
        assert [column["name"] for column in found["columnDefinitions"]] == ["Name", "cpu", "memory", "Window"]
        assert found["rows"][0]["cells"] == ["p1", "251000000n", "66560Ki", "10s"]
        assert found["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
        of_nodes = await api.json("GET", f"{GROUP}/nodes?includeObject=None", headers=TABLE)
        assert of_nodes["rows"][1] == {"cells": ["node-b", "2000000000n", "8388608Ki", "10s"]}


@virtual_time
async def test_only_get_and_list_of_nodes_and_pods(clock: VirtualClock) -> None:
    async with serving(clock, cluster()) as api:
        assert (await api.refused("DELETE", f"{GROUP}/nodes/node-a"))[0] == 405
        assert (await api.refused("GET", f"{GROUP}/nodes?watch=true"))[0] == 405
        assert (await api.refused("GET", f"{GROUP}/things"))[0] == 404
        assert (await api.refused("GET", f"{GROUP}/pods?labelSelector=%3D%3D"))[:2] == (400, "BadRequest")


@virtual_time
async def test_discovery_and_who_takes_over(clock: VirtualClock) -> None:
    async with serving(clock, cluster()) as api:
        groups = await api.json("GET", "/apis")
        assert "metrics.k8s.io" in [group["name"] for group in groups["groups"]]
        resources = await api.json("GET", GROUP)
        assert [entry["kind"] for entry in resources["resources"]] == ["NodeMetrics", "PodMetrics"]
        assert (await api.json("GET", "/apis/metrics.k8s.io"))["kind"] == "APIGroup"

        # Somebody installs metrics-server: its APIService names a Service, which nothing stands behind yet.
        service = {"service": {"name": "metrics-server", "namespace": "kube-system"}, "insecureSkipTLSVerify": True}
        await api.client.patch(API_SERVICES, NAME, {"spec": service})
        assert (await api.send("GET", f"{GROUP}/nodes")).status == 503
        await api.client.patch(API_SERVICES, NAME, {"spec": {"service": None, "insecureSkipTLSVerify": None}})
        assert (await api.send("GET", f"{GROUP}/nodes")).status == 200
        await api.client.delete(API_SERVICES, NAME)
        assert (await api.send("GET", f"{GROUP}/nodes")).status == 404
