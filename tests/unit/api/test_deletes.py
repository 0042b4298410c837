"""DELETE and DELETECOLLECTION: at once, gracefully, with finalizers; namespaces."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.api.harness import Api, api_server, config_map, pod
from twinplane.clock import rfc3339
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import CONFIG_MAPS, JOBS, NAMESPACES, PODS
from twinplane.testing.virtual_time import VirtualClock, virtual_time

MAPS = "/api/v1/namespaces/default/configmaps"


async def is_there(api: Api, resource: Resource, name: str) -> bool:
    return api.runtime.cache.get(resource, "default" if resource.namespaced else "", name) is not None


async def made(api: Api, body: Object) -> Object:
    return await api.client.create(PODS, body, "default")


async def test_plain_objects_vanish_with_a_status() -> None:
    async with api_server() as api:
        created = await api.client.create(CONFIG_MAPS, config_map("a"), "default")
        status = await api.json("DELETE", f"{MAPS}/a")
        details = {"name": "a", "kind": "configmaps", "uid": created["metadata"]["uid"]}
        assert (status["kind"], status["status"], status["details"]) == ("Status", "Success", details)
        assert await api.refused("DELETE", f"{MAPS}/a") == (404, "NotFound", 'configmaps "a" not found')


@virtual_time
async def test_a_pod_on_a_node_waits_for_its_kubelet(clock: VirtualClock) -> None:
    async with api_server(clock=clock) as api:
        await made(api, pod("a", node="n1"))
        deleted = await api.client.delete(PODS, "a", "default")
        assert deleted["metadata"]["deletionTimestamp"] == rfc3339(clock.now() + 30)
        assert deleted["metadata"]["deletionGracePeriodSeconds"] == 30
        shorter = await api.client.delete(PODS, "a", "default", grace_period_seconds=5)
        assert shorter["metadata"]["deletionTimestamp"] == rfc3339(clock.now() + 5)
        longer = await api.client.delete(PODS, "a", "default", grace_period_seconds=60)
        assert longer == shorter
        await api.client.delete(PODS, "a", "default", grace_period_seconds=0)
        assert not await is_there(api, PODS, "a")


async def test_pods_that_nobody_runs_vanish_at_once() -> None:
    async with api_server() as api:
        await made(api, pod("pending"))
        await made(api, pod("done", node="n1"))
        await api.client.patch(PODS, "done", {"status": {"phase": "Succeeded"}}, "default", subresource="status")
        for name in ("pending", "done"):
            await api.client.delete(PODS, name, "default")
            assert not await is_there(api, PODS, name)


async def test_the_last_finalizer_takes_the_object_along() -> None:
    async with api_server() as api:
        body = config_map("a")
        body["metadata"]["finalizers"] = ["example.com/one", "example.com/two"]
        await api.client.create(CONFIG_MAPS, body, "default")
        marked = await api.client.delete(CONFIG_MAPS, "a", "default")
        assert marked["metadata"]["deletionGracePeriodSeconds"] == 0
        again = await api.client.delete(CONFIG_MAPS, "a", "default")
        assert again["metadata"] == marked["metadata"]
        await api.client.patch(CONFIG_MAPS, "a", {"metadata": {"finalizers": ["example.com/two"]}}, "default")
        assert await is_there(api, CONFIG_MAPS, "a")
        await api.client.patch(CONFIG_MAPS, "a", {"metadata": {"finalizers": None}}, "default")
        assert not await is_there(api, CONFIG_MAPS, "a")


@pytest.mark.parametrize(("policy", "finalizer"), [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")])
async def test_propagation_becomes_a_finalizer(policy: str, finalizer: str) -> None:
    async with api_server() as api:
        await api.client.create(CONFIG_MAPS, config_map("a"), "default")
        marked = await api.client.delete(CONFIG_MAPS, "a", "default", propagation_policy=policy)
        assert marked["metadata"]["finalizers"] == [finalizer]
        # A later background deletion takes the garbage collector's finalizers back.
        await api.client.delete(CONFIG_MAPS, "a", "default", propagation_policy="Background")
        assert not await is_there(api, CONFIG_MAPS, "a")


async def test_jobs_orphan_their_pods_by_default_with_a_warning() -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}}
    async with api_server() as api:
        await api.client.create(JOBS, {"metadata": {"name": "j"}, "spec": {"template": template}}, "default")
        response = await api.send("DELETE", JOBS.path("default", "j"))
        assert "child pods are preserved by default" in response.headers["warning"]
        assert b'"finalizers":["orphan"]' in response.body


async def test_preconditions() -> None:
    async with api_server() as api:
        created = await api.client.create(CONFIG_MAPS, config_map("a"), "default")
        for wrong in ({"uid": "other"}, {"resource_version": "1"}):
            with pytest.raises(ApiError) as caught:
                await api.client.delete(CONFIG_MAPS, "a", "default", **wrong)  # type: ignore[arg-type] # one of two
            assert caught.value.reason == "Conflict"
            assert "in the precondition" in caught.value.message
        uid, version = created["metadata"]["uid"], created["metadata"]["resourceVersion"]
        await api.client.delete(CONFIG_MAPS, "a", "default", uid=uid, resource_version=version)
        assert not await is_there(api, CONFIG_MAPS, "a")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"propagationPolicy": "Sideways"}, 422),
        ({"propagationPolicy": "Orphan", "orphanDependents": True}, 422),
        ({"dryRun": ["Some"]}, 422),
        ({"gracePeriodSeconds": "soon"}, 400),
        ({"kind": "Pod", "apiVersion": "v1"}, 400),
        (b"[]", 400),
        (b"{", 400),
    ],
)
async def test_bad_options(body: Any, code: int) -> None:
    async with api_server() as api:
        await api.client.create(CONFIG_MAPS, config_map("a"), "default")
        assert (await api.refused("DELETE", f"{MAPS}/a", body))[0] == code
        assert await is_there(api, CONFIG_MAPS, "a")


async def test_options_in_the_query() -> None:
    async with api_server() as api:
        await made(api, pod("a", node="n1"))
        target = "/api/v1/namespaces/default/pods/a"
        marked = await api.json("DELETE", f"{target}?gracePeriodSeconds=7&propagationPolicy=Foreground")
        assert marked["metadata"]["deletionGracePeriodSeconds"] == 7
        assert marked["metadata"]["finalizers"] == ["foregroundDeletion"]
        assert (await api.refused("DELETE", f"{target}?gracePeriodSeconds=x"))[0] == 400


async def test_namespaces_wait_until_they_are_finalized() -> None:
    async with api_server() as api:
        await api.client.create(NAMESPACES, {"metadata": {"name": "n"}})
        marked = await api.client.delete(NAMESPACES, "n")
        assert marked["status"]["phase"] == "Terminating"
        assert marked["spec"]["finalizers"] == ["kubernetes"]
        code, reason, _ = await api.refused("DELETE", "/api/v1/namespaces/n")
        assert (code, reason) == (409, "Conflict")
        marked["spec"]["finalizers"] = []
        await api.json("PUT", "/api/v1/namespaces/n/finalize", marked)
        assert not await is_there(api, NAMESPACES, "n")


async def test_collections() -> None:
    async with api_server() as api:
        for name in "abc":
            await api.client.create(CONFIG_MAPS, config_map(name, on=str(name != "b")), "default")
        await made(api, pod("p"))
        await api.client.delete_collection(CONFIG_MAPS, "default", label_selector="on=True")
        left = await api.client.list(CONFIG_MAPS, "default")
        assert [item["metadata"]["name"] for item in left.items] == ["b"]
        found = await api.json("DELETE", MAPS)
        assert [item["metadata"]["name"] for item in found["items"]] == ["b"]
        assert await is_there(api, PODS, "p")


@pytest.mark.parametrize(("version", "code"), [("v1", 200), ("apps/v1", 200), ("meta.k8s.io/v1", 200), ("x/v9", 400)])
async def test_options_may_be_of_any_group_that_is_served(version: str, code: int) -> None:
    async with api_server() as api:
        await api.send("POST", MAPS, config_map("m"))
        response = await api.send("DELETE", f"{MAPS}/m", {"kind": "DeleteOptions", "apiVersion": version})
        assert response.status == code
