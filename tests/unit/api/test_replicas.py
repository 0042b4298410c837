"""Pods of one template share what was made of the first, until something changes that this depends on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random
from typing import Any

from tests.unit.api.harness import Api, api_server
from twinplane.controlplane.admission.default_toleration_seconds import DefaultTolerationSeconds
from twinplane.controlplane.admission.limit_ranger import LimitRanger
from twinplane.controlplane.admission.plugin import Plugin
from twinplane.controlplane.admission.resource_quota import ResourceQuota
from twinplane.controlplane.admission.service_account import ServiceAccount
from twinplane.controlplane.api.objects.reader import CacheReader
from twinplane.controlplane.api.objects.selection import Selection
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import PODS

POD_LIST = "/api/v1/namespaces/default/pods"
STRATEGIC = {"content-type": "application/strategic-merge-patch+json"}


def replica(**spec: Any) -> Object:
    containers = [{"name": "web", "image": "nginx", "ports": [{"containerPort": 80}]}]
    metadata = {"generateName": "web-", "labels": {"app": "web"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers, **spec}}


@asynccontextmanager
async def admitting() -> AsyncIterator[Api]:
    async with api_server() as api:
        runtime = api.runtime
        reader = CacheReader(runtime.cache, runtime.registry)
        plugins: tuple[Plugin, ...] = (
            LimitRanger(reader),
            ServiceAccount(reader, Random(1)),
            DefaultTolerationSeconds(),
            ResourceQuota(reader, api.client, runtime.clock),
        )
        account = {"metadata": {"name": "default"}}
        await api.json("POST", "/api/v1/namespaces/default/serviceaccounts", account, expect=201)
        yield Api(replace(runtime, admission=plugins, admission_plans={}))


async def create(api: Api, body: Object, **more: Any) -> Object:
    made: Object = await api.json("POST", POD_LIST, body, expect=201, **more)
    return made


def without_identity(pod: Object) -> Object:
    own = ("name", "uid", "resourceVersion", "creationTimestamp", "managedFields")
    fields = [{**entry, "time": ""} for entry in pod["metadata"]["managedFields"]]
    return {**pod, "metadata": {key: value for key, value in pod["metadata"].items() if key not in own}, "x": fields}


async def test_replicas_are_alike_but_for_their_identity() -> None:
    async with admitting() as api:
        pods = [await create(api, replica()) for _ in range(4)]
        assert len(api.runtime.templates) == 1
        assert len({pod["metadata"]["name"] for pod in pods}) == len({pod["metadata"]["uid"] for pod in pods}) == 4
        assert all(without_identity(pod) == without_identity(pods[0]) for pod in pods)
        assert all(pod["metadata"]["managedFields"][0]["time"] for pod in pods)


async def test_what_admission_reads_counts() -> None:
    async with admitting() as api:
        limit = {"metadata": {"name": "l"}, "spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]}}
        await api.json("POST", "/api/v1/namespaces/default/limitranges", limit, expect=201)
        assert (await create(api, replica()))["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "1"}
        assert (await create(api, replica()))["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "1"}
        await api.json("DELETE", "/api/v1/namespaces/default/limitranges/l")
        assert not (await create(api, replica()))["spec"]["containers"][0].get("resources", {}).get("limits")


async def test_a_quota_counts_every_one() -> None:
    async with admitting() as api:
        await create(api, replica())
        quota = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "2"}}}
        await api.json("POST", "/api/v1/namespaces/default/resourcequotas", quota, expect=201)
        path = "/api/v1/namespaces/default/resourcequotas/q/status"
        status = {"status": {"hard": {"pods": "2"}, "used": {"pods": "1"}}}
        await api.json("PATCH", path, status, headers={"content-type": "application/merge-patch+json"})
        await create(api, replica())
        assert (await api.refused("POST", POD_LIST, replica()))[:2] == (403, "Forbidden")


async def test_the_service_account_must_still_be_there() -> None:
    async with admitting() as api:
        account = {"metadata": {"name": "robot"}}
        await api.json("POST", "/api/v1/namespaces/default/serviceaccounts", account, expect=201)
        await create(api, replica(serviceAccountName="robot"))
        await create(api, replica(serviceAccountName="robot"))
        await api.json("DELETE", "/api/v1/namespaces/default/serviceaccounts/robot")
        assert (await api.refused("POST", POD_LIST, replica(serviceAccountName="robot")))[0] == 403


def named(name: str, **spec: Any) -> Object:
    return {**replica(**spec), "metadata": {"name": name, "labels": {"app": "web"}}}


async def test_named_pods_are_alike_but_for_their_identity() -> None:
    async with admitting() as api:
        pods = [await create(api, named(f"web-{number}")) for number in range(4)]
        assert len(api.runtime.templates) == 1
        assert [pod["metadata"]["name"] for pod in pods] == [f"web-{number}" for number in range(4)]
        assert all(without_identity(pod) == without_identity(pods[0]) for pod in pods)
        assert (await api.refused("POST", POD_LIST, named("web-3")))[1] == "AlreadyExists"
        assert (await api.refused("POST", POD_LIST, named("Web_4")))[:2] == (422, "Invalid")
        elsewhere = {"metadata": {"name": "web-5", "namespace": "other"}}
        assert (await api.refused("POST", POD_LIST, {**named("web-5"), **elsewhere}))[0] == 400


async def test_a_name_that_stands_elsewhere_too_is_no_name_alone() -> None:
    async with admitting() as api:
        for number in range(4):
            body = named(f"pod-{number}")
            body["spec"]["containers"][0]["name"] = f"pod-{number}"
            made = await create(api, body)
            assert made["spec"]["containers"][0]["name"] == made["metadata"]["name"] == f"pod-{number}"
        for number in range(3):
            made = await create(api, named("web" if number == 0 else f"web-{number}"))
            assert made["spec"]["containers"][0]["name"] == "web"
        assert len(api.runtime.templates) == 1


async def test_what_the_first_of_many_says_holds_for_it_alone() -> None:
    """Pods that only differ in a label are not alike."""
    async with admitting() as api:
        for number in range(4):
            body = named(f"set-{number}")
            body["metadata"]["labels"]["index"] = str(number)
            assert (await create(api, body))["metadata"]["labels"] == {"app": "web", "index": str(number)}
        assert not any(api.runtime.templates.values())


async def test_dry_runs_and_warnings_are_not_remembered() -> None:
    async with admitting() as api:
        await api.json("POST", f"{POD_LIST}?dryRun=All", replica(), expect=201)
        for _ in range(2):
            response = await api.send("POST", POD_LIST, replica(unknown=1))
            assert 'unknown field \\"spec.unknown\\"' in response.headers["warning"]
        assert not api.runtime.templates


async def test_changes_of_one_replica_leave_the_others_and_their_readers_alone() -> None:
    async with admitting() as api:
        seen: dict[str, Object] = {}

        async def follow() -> None:
            async for event in api.client.watch(PODS, "default", resource_version=""):
                seen[event.object["metadata"]["name"]] = event.object

        task = asyncio.create_task(follow())
        await asyncio.sleep(0)
        first, second, third = [(await create(api, replica()))["metadata"]["name"] for _ in range(3)]
        target = {"apiVersion": "v1", "kind": "Node", "name": "n"}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": first}, "target": target}
        await api.json("POST", f"{POD_LIST}/{first}/binding", binding, expect=201)
        bound = api.runtime.cache.get(PODS, "default", first)
        assert bound is not None
        before = bound.parsed()
        status = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
        await api.json("PATCH", f"{POD_LIST}/{first}/status", status, headers=STRATEGIC)
        assert bound.peek() == before
        await api.json("PATCH", f"{POD_LIST}/{second}", {"metadata": {"labels": {"x": "y"}}}, headers=STRATEGIC)
        image = {"spec": {"containers": [{"name": "web", "image": "other"}]}}
        await api.json("PATCH", f"{POD_LIST}/{second}", image, headers=STRATEGIC)
        again = await create(api, replica())
        for held in api.runtime.cache.collection(PODS).select(Selection()):
            assert held.peek() == held.parsed()
        listed = await api.client.list(PODS, "default")
        now = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in listed.items}
        while {name: body["metadata"]["resourceVersion"] for name, body in seen.items()} != now:
            await asyncio.sleep(0.01)
        for name in (first, second, third, again["metadata"]["name"]):
            assert seen[name] == await api.json("GET", f"{POD_LIST}/{name}")
        assert seen[first]["spec"]["nodeName"] == "n"
        assert seen[second]["spec"]["containers"][0]["image"] == "other"
        assert "nodeName" not in seen[third]["spec"]
        assert seen[third]["status"]["phase"] == "Pending"
        assert again["spec"] == seen[third]["spec"]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_who_needs_only_the_name_is_told_no_more() -> None:
    async with admitting() as api:
        names = [await api.client.create_named(PODS, replica(), "default") for _ in range(3)]
        assert len(set(names)) == 3
        for name in names:
            assert (await api.client.get(PODS, name, "default"))["metadata"]["name"] == name
