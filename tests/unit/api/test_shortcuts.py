"""What a write or a list does not do again, and that it is done again as soon as it has to be."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, ClassVar

import orjson
import pytest

from tests.unit.api.harness import api_server, config_map, pod, types
from twinplane.controlplane.admission.contract import AdmissionRequest
from twinplane.controlplane.admission.plugin import Plugin, concerns
from twinplane.controlplane.api import discovery, encoding
from twinplane.controlplane.api.encoding import dump, list_bytes, list_pieces, stamp, to_store
from twinplane.controlplane.api.objects.keys import key_of
from twinplane.controlplane.api.objects.reader import CacheReader
from twinplane.controlplane.store.contract import Horizon, Record, StoreUnavailable
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import CONFIG_MAPS, PODS

MAPS = "/api/v1/namespaces/default/configmaps"
POD_LIST = "/api/v1/namespaces/default/pods"
MERGE = {"content-type": "application/merge-patch+json"}
STRATEGIC = {"content-type": "application/strategic-merge-patch+json"}


class Asked(Plugin):
    name = "Asked"
    by_type: ClassVar[bool] = True

    def __init__(self) -> None:
        self.asked = 0
        self.ran = 0

    def handles(self, request: AdmissionRequest) -> bool:
        self.asked += 1
        return concerns(request, CONFIG_MAPS, "CREATE")

    async def admit(self, request: AdmissionRequest) -> None:
        self.ran += 1


class AskedAlways(Asked):
    by_type: ClassVar[bool] = False

    def handles(self, request: AdmissionRequest) -> bool:
        return super().handles(request) and request.name != "b"


async def test_plugins_that_go_by_type_are_asked_once_for_each_kind_of_request() -> None:
    fixed, free = Asked(), AskedAlways()
    async with api_server(admission=[fixed, free]) as api:
        fixed.asked = free.asked = 0
        for name in "abc":
            await api.json("POST", MAPS, config_map(name), expect=201)
        assert (fixed.asked, fixed.ran) == (1, 3)
        assert (free.asked, free.ran) == (3, 2)
        for name in "abc":
            await api.json("PATCH", f"{MAPS}/{name}", {"data": {"x": "y"}}, headers=MERGE)
        assert (fixed.asked, fixed.ran) == (2, 3)


async def test_a_spec_found_sound_is_not_believed_elsewhere() -> None:
    """An ephemeral container is in order in a pod that is there, and refused in a new one."""
    ephemeral = [{"name": "debug", "image": "busybox"}]
    async with api_server() as api:
        await api.json("POST", POD_LIST, pod("a"), expect=201)
        patch = {"spec": {"ephemeralContainers": ephemeral}}
        made = await api.json("PATCH", f"{POD_LIST}/a/ephemeralcontainers", patch, headers=STRATEGIC)
        body = {"metadata": {"name": "b"}, "spec": made["spec"]}
        code, _, message = await api.refused("POST", POD_LIST, body)
        assert code == 422
        assert "spec.ephemeralContainers: Forbidden: cannot be set on create" in message


def test_errors_are_those_of_the_exact_walk() -> None:
    """In the order of field names, with their paths, whatever the order in the body."""
    registry, rules = types()
    served = registry.lookup("", "v1", "pods")
    assert served is not None
    spec = {"tolerations": [{"key": "a/b/c"}], "containers": [{"image": "x", "name": "A"}], "dnsPolicy": "No"}
    body: Object = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "x", "namespace": "y"}, "spec": spec}
    backwards = {**body, "spec": dict(reversed(spec.items()))}
    rules.default(served, body)
    rules.default(served, backwards)
    found, again = (rules.validate(served, each, None) for each in (body, backwards))
    assert [error.text() for error in found] == [error.text() for error in again]
    assert {error.path for error in found} == {
        "spec.dnsPolicy",
        "spec.containers[0].name",
        "spec.tolerations[0].key",
    }


@pytest.mark.parametrize("headers", [MERGE, STRATEGIC])
async def test_a_patch_is_decoded_where_it_changes_something(headers: dict[str, str]) -> None:
    async with api_server() as api:
        await api.json("POST", POD_LIST, pod("a", labels={"app": "web"}), expect=201)
        target = f"{POD_LIST}/a/status"
        patched = await api.send("PATCH", target, {"status": {"phase": "Running", "fase": 1}}, headers=headers)
        assert patched.headers["warning"] == '299 - "unknown field \\"status.fase\\""'
        assert orjson.loads(patched.body)["status"]["phase"] == "Running"
        wrong = {"status": {"conditions": [{"type": "Ready", "status": True}]}}
        code, _, message = await api.refused("PATCH", target, wrong, headers=headers)
        assert code == 422
        assert message.startswith(' "" is invalid: patch: Invalid value: "')
        assert "cannot unmarshal bool into Go struct field PodCondition.status.conditions.status of type string" in (
            message
        )
        strict = await api.refused("PATCH", f"{target}?fieldValidation=Strict", {"more": 1}, headers=headers)
        assert strict[2].endswith('strict decoding error: unknown field "more"')


async def test_a_creator_owns_nothing_of_the_status() -> None:
    async with api_server() as api:
        made = await api.json("POST", POD_LIST, pod("a"), expect=201)
        assert made["status"]["phase"] == "Pending"
        assert [list(entry["fieldsV1"]) for entry in made["metadata"]["managedFields"]] == [["f:spec"]]


async def test_an_announced_value_is_kept_unparsed_and_another_is_not_believed() -> None:
    async with api_server() as api:
        cache, store = api.runtime.cache, api.runtime.store
        body = config_map("a", app="web")
        body["metadata"] |= {"namespace": "default", "uid": "1"}
        key, value = key_of(CONFIG_MAPS, "default", "a"), dump(to_store(body, CONFIG_MAPS))
        announced = {**body, "metadata": {**body["metadata"], "labels": {"app": "told"}}}
        cache.announce(key, value, announced)
        record = await store.create(key, value)
        await cache.applied(record.revision)
        entry = cache.get(CONFIG_MAPS, "default", "a")
        assert entry is not None
        assert entry.labels == {"app": "told"}
        other = dump(to_store({**body, "data": {"by": "another"}}, CONFIG_MAPS))
        record = await store.update(key, other, record.revision)
        await cache.applied(record.revision)
        entry = cache.get(CONFIG_MAPS, "default", "a")
        assert entry is not None
        assert entry.labels == {"app": "web"}
        cache.announce(key, value, announced)
        cache.normalise(CONFIG_MAPS, lambda body: False)
        assert cache.entry(Record(key, stamp(value, 9), 9, 9)).labels == {"app": "web"}
        cache.forget(key)
        assert cache._announced == {}


async def test_nothing_stays_announced_after_writes_that_failed() -> None:
    async with api_server() as api:
        made = await api.json("POST", MAPS, config_map("a"), expect=201)
        assert (await api.refused("POST", MAPS, config_map("a")))[0] == 409
        made["metadata"]["resourceVersion"] = "1"
        assert (await api.refused("PUT", f"{MAPS}/a", made))[0] == 409
        assert api.runtime.cache._announced == {}


async def test_of_updates_that_race_the_losers_begin_anew() -> None:
    async with api_server() as api:
        await api.json("POST", MAPS, config_map("a"), expect=201)
        bodies = [config_map("a", {"n": str(number)}) for number in range(8)]
        await asyncio.gather(*(api.json("PUT", f"{MAPS}/a", body) for body in bodies))
        found = await api.json("GET", f"{MAPS}/a")
        assert found["data"]["n"] in {str(number) for number in range(8)}


async def test_readers_follow_the_table_of_types() -> None:
    async with api_server() as api:
        registry = api.runtime.registry.copy()
        reader = CacheReader(api.runtime.cache, registry)
        await api.json("POST", POD_LIST, pod("a"), expect=201)
        assert reader.get(PODS, "a", "default") is not None
        served = registry.lookup("", "v1", "pods")
        assert served is not None
        registry.register(replace(served, storage=CONFIG_MAPS))
        assert reader.get(PODS, "a", "default") is None


def test_a_list_in_pieces_is_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [b'{"n":%d}' % number for number in range(100)]
    whole = list_bytes("List", "v1", 7, items, continue_="x", remaining=3)
    monkeypatch.setattr(encoding, "PIECE_BYTES", 64)
    pieces = list_pieces("List", "v1", 7, items, continue_="x", remaining=3)
    assert len(pieces) > 10
    assert b"".join(pieces) == whole
    assert [item["n"] for item in orjson.loads(whole)["items"]] == list(range(100))


async def test_long_lists_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "PIECE_BYTES", 512)
    async with api_server() as api:
        for number in range(20):
            await api.client.create(CONFIG_MAPS, config_map(f"m-{number}", {"x": "y" * 100}), "default")
        response = await api.send("GET", MAPS)
        assert len(response.pieces) > 1
        assert response.whole() == b"".join(response.pieces)
        assert len((await api.client.list(CONFIG_MAPS, "default")).items) == 20


async def _unavailable() -> Horizon:
    raise StoreUnavailable("no member answers")


async def _silent() -> Horizon:
    await asyncio.sleep(3600)
    raise AssertionError("nobody waits that long")


@pytest.mark.parametrize("horizon", [_unavailable, _silent])
async def test_health_asks_the_store(monkeypatch: pytest.MonkeyPatch, horizon: Any) -> None:
    async with api_server() as api:
        assert (await api.send("GET", "/readyz")).status == 200
        monkeypatch.setattr(discovery, "STORE_SECONDS", 0.01)
        monkeypatch.setattr(api.runtime.store, "horizon", horizon)
        failed = await api.send("GET", "/readyz")
        assert failed.status == 500
        assert b"[-]etcd failed: reason withheld" in failed.body
        assert (await api.send("GET", "/readyz?exclude=etcd")).status == 200
        assert (await api.send("GET", "/readyz/ping")).status == 200
