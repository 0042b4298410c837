"""The cache over a store: loading, following, falling behind, and indexes that agree with a plain search."""

from __future__ import annotations

import asyncio

import orjson
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.api.harness import api_server, config_map, types
from tests.unit.api.test_watch import Plain, entry
from twinplane.clock import SystemClock
from twinplane.controlplane.api.encoding import dump, stamp, to_store
from twinplane.controlplane.api.objects.cache import ObjectCache
from twinplane.controlplane.api.objects.collection import Collection
from twinplane.controlplane.api.objects.entry import Entry
from twinplane.controlplane.api.objects.keys import key_of, prefix_of, split
from twinplane.controlplane.api.objects.selection import Selection
from twinplane.controlplane.store.embedded import EmbeddedStore
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import CONFIG_MAPS, NODES, PODS


def test_keys() -> None:
    assert key_of(PODS, "a", "b") == "/registry/core/pods/a/b"
    assert key_of(NODES, "", "n") == "/registry/core/nodes/n"
    assert split("/registry/apps/deployments/a/b") == ("/registry/apps/deployments/", "a", "b")
    assert split(key_of(NODES, "", "n")) == (prefix_of(NODES), "", "n")


async def put(store: EmbeddedStore, name: str, body: Object) -> int:
    body["metadata"]["namespace"] = "default"
    record = await store.create(key_of(CONFIG_MAPS, "default", name), dump(to_store(body, CONFIG_MAPS)))
    return record.revision


async def test_what_was_stored_before_is_loaded() -> None:
    store = await EmbeddedStore.open(None, stamp=stamp, clock=SystemClock())
    revision = await put(store, "a", config_map("a"))
    cache = ObjectCache(store, *types())
    await cache.start()
    found = cache.get(CONFIG_MAPS, "default", "a")
    assert found is not None
    assert found.object["metadata"]["resourceVersion"] == str(revision)
    assert cache.revision == revision
    assert cache.counts() == {"configmaps": 1}
    await cache.close()
    await store.close()


async def test_after_falling_behind_watchers_are_told_the_difference() -> None:
    store = await EmbeddedStore.open(None, stamp=stamp, clock=SystemClock())
    cache = ObjectCache(store, *types())
    for name in ("kept", "gone", "changed"):
        await put(store, name, config_map(name))
    await cache.start()
    watcher = cache.hub(CONFIG_MAPS).add(Selection("default"), Plain(), (), bookmarks=False)
    for task in cache._tasks:
        task.cancel()
    await asyncio.gather(*cache._tasks, return_exceptions=True)
    await put(store, "new", config_map("new"))
    for name, action in (("gone", "delete"), ("changed", "update")):
        key = key_of(CONFIG_MAPS, "default", name)
        record = await store.get(key)
        assert record is not None
        if action == "delete":
            await store.delete(key, record.revision)
        else:
            await store.update(key, dump(to_store(config_map(name, {"x": "y"}), CONFIG_MAPS)), record.revision)
    await cache._reload()
    events = [orjson.loads(line) for line in (await anext(watcher)).splitlines()]
    seen = {event["object"]["metadata"]["name"]: event["type"] for event in events}
    assert seen == {"new": "ADDED", "changed": "MODIFIED", "gone": "DELETED"}
    assert cache.revision == store.revision
    await cache.close()
    await store.close()


async def test_writes_are_refused_once_the_cache_has_stopped() -> None:
    async with api_server() as api:
        await api.runtime.cache.close()
        code, reason, _ = await api.refused("POST", "/api/v1/namespaces/default/configmaps", config_map("a"))
        assert (code, reason) == (503, "ServiceUnavailable")


objects = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from(["x", "y"]), st.sampled_from(["", "n1", "n2"]), st.booleans()),
    max_size=40,
)


@given(objects, st.sampled_from(["", "x", "y"]), st.sampled_from([None, "n1", "n2"]))
def test_indexes_find_what_a_search_finds(
    steps: list[tuple[str, str, str, bool]], namespace: str, node: str | None
) -> None:
    collection = Collection(prefix_of(PODS), 0)
    model: dict[str, Entry] = {}
    for revision, (name, place, on, present) in enumerate(steps, 1):
        one = entry(name, revision, on, place)
        if present:
            assert collection.put(one) is model.get(one.key)
            model[one.key] = one
        else:
            assert collection.remove(one.key, revision) is model.pop(one.key, None)
    tests = () if node is None else (lambda found: found.fields["spec.nodeName"] == node,)
    selection = Selection(namespace, node=node, tests=tests)
    expected = [model[key] for key in sorted(model) if selection.covers(model[key])]
    assert collection.select(selection) == expected
    for after in sorted(model):
        assert collection.select(selection, after) == [found for found in expected if found.key > after]
