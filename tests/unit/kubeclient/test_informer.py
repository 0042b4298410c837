from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from twinplane.kubeclient.contract import Object, ObjectList, Resource, WatchEvent
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.indexes import ORPHANS, add_controller_indexes, controlled, selected
from twinplane.kubeclient.informer import SharedInformer, SharedInformers
from twinplane.kubeclient.meta import name_of
from twinplane.kubeclient.resources import CONFIG_MAPS, PODS, SECRETS
from twinplane.testing.memory_cluster import MemoryCluster
from twinplane.testing.virtual_time import VirtualTimeLoop, virtual_time


def config_map(name: str, **labels: str) -> Object:
    return {"metadata": {"name": name, "namespace": "default", "labels": labels}}


@asynccontextmanager
async def following(informer: SharedInformer) -> AsyncIterator[None]:
    task = asyncio.create_task(informer.run())
    try:
        await informer.wait_synced()
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Log:
    """What a handler saw: `+a`, `~a`, `-a`."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, old: Object | None, new: Object | None) -> None:
        sign = "+" if old is None else "-" if new is None else "~"
        self.seen.append(sign + name_of(new or old or {}))


@virtual_time
async def test_lists_then_follows() -> None:
    cluster = MemoryCluster()
    cluster.seed(CONFIG_MAPS, config_map("a"))
    informer, log = SharedInformer(cluster, CONFIG_MAPS), Log()
    informer.add_handler(log)
    assert not informer.synced
    async with following(informer):
        await cluster.create(CONFIG_MAPS, config_map("b"))
        await cluster.patch(CONFIG_MAPS, "a", {"data": {"k": "v"}}, "default")
        await cluster.delete(CONFIG_MAPS, "b", "default")
        await asyncio.sleep(1)
        assert log.seen == ["+a", "+b", "~a", "-b"]
        found = informer.get("a", "default")
        assert found is not None
        assert (found["kind"], found["data"]) == ("ConfigMap", {"k": "v"})
        late = Log()
        informer.add_handler(late)
        assert late.seen == ["+a"]


class Breaking(MemoryCluster):
    """Ends, breaks or expires watches on demand, and counts lists."""

    def __init__(self) -> None:
        super().__init__()
        self.lists = 0
        self.breaking: Exception | None = None
        self.again = asyncio.Event()

    async def list(self, resource: Resource, namespace: str | None = None, **options: Any) -> ObjectList:
        self.lists += 1
        return await super().list(resource, namespace, **options)

    async def watch(
        self, resource: Resource, namespace: str | None = None, **options: Any
    ) -> AsyncIterator[WatchEvent]:
        async for event in super().watch(resource, namespace, **options):
            yield event
            if self.breaking is not None:
                error, self.breaking = self.breaking, None
                raise error


@virtual_time
async def test_a_broken_watch_resumes_without_a_list() -> None:
    cluster = Breaking()
    informer, log = SharedInformer(cluster, CONFIG_MAPS), Log()
    informer.add_handler(log)
    async with following(informer):
        cluster.breaking = ConnectionError("gone")
        await cluster.create(CONFIG_MAPS, config_map("a"))
        await asyncio.sleep(0.1)
        await cluster.create(CONFIG_MAPS, config_map("b"))
        await asyncio.sleep(5)
        assert log.seen == ["+a", "+b"]
        assert cluster.lists == 1


@virtual_time
async def test_an_expired_revision_costs_a_list_and_shows_differences() -> None:
    cluster = Breaking()
    for name in ("kept", "changed", "gone", "remade"):
        cluster.seed(CONFIG_MAPS, config_map(name))
    informer, log = SharedInformer(cluster, CONFIG_MAPS), Log()
    async with following(informer):
        informer.add_handler(log)
        log.seen.clear()
        cluster.breaking = ConnectionError("gone")
        await cluster.patch(CONFIG_MAPS, "kept", {"data": {"k": "v"}}, "default")
        await asyncio.sleep(0.01)
        await cluster.patch(CONFIG_MAPS, "changed", {"data": {"k": "v"}}, "default")
        await cluster.delete(CONFIG_MAPS, "gone", "default")
        await cluster.delete(CONFIG_MAPS, "remade", "default")
        await cluster.create(CONFIG_MAPS, config_map("remade"))
        await cluster.create(CONFIG_MAPS, config_map("new"))
        cluster.compact()
        await asyncio.sleep(10)
        assert log.seen == ["~kept", "~changed", "+new", "-remade", "+remade", "-gone"]
        assert cluster.lists == 2


@virtual_time
async def test_failures_back_off() -> None:
    class Down(MemoryCluster):
        attempts = 0

        async def list(self, resource: Resource, namespace: str | None = None, **options: Any) -> ObjectList:
            self.attempts += 1
            if self.attempts < 50:
                raise ApiError("ServiceUnavailable", "not yet")
            return await super().list(resource, namespace, **options)

    cluster = Down()
    informer = SharedInformer(cluster, CONFIG_MAPS)
    task = asyncio.create_task(informer.run())
    await asyncio.sleep(100)
    assert 10 < cluster.attempts < 35
    task.cancel()


@virtual_time
async def test_a_type_that_is_gone_is_empty() -> None:
    class Gone(MemoryCluster):
        async def list(self, resource: Resource, namespace: str | None = None, **options: Any) -> ObjectList:
            raise ApiError("NotFound", "the server could not find the requested resource")

    informer = SharedInformer(Gone(), CONFIG_MAPS)
    async with following(informer):
        assert informer.list() == []


@virtual_time
async def test_a_handler_that_fails_disturbs_nobody(caplog: Any) -> None:
    cluster = MemoryCluster()
    informer, log = SharedInformer(cluster, CONFIG_MAPS), Log()

    def wrong(old: Object | None, new: Object | None) -> None:
        raise KeyError("a mistake")

    informer.add_handler(wrong)
    informer.add_handler(log)
    async with following(informer):
        await cluster.create(CONFIG_MAPS, config_map("a"))
        await asyncio.sleep(0.1)
        assert log.seen == ["+a"]


@virtual_time
async def test_selectors_narrow_an_informer() -> None:
    cluster = MemoryCluster()
    informer, log = SharedInformer(cluster, PODS, field_selector="spec.nodeName=n1"), Log()
    informer.add_handler(log)
    async with following(informer):
        for name in ("a", "b"):
            await cluster.create(PODS, {"metadata": {"name": name}, "spec": {}}, "default")
        target = {"target": {"name": "n1"}}
        await cluster.create(PODS, target, "default", name="a", subresource="binding")
        await asyncio.sleep(0.1)
        assert log.seen == ["+a"]


@virtual_time
async def test_shared_informers_start_late_comers() -> None:
    cluster = MemoryCluster()
    cluster.seed(SECRETS, config_map("s"))
    informers = SharedInformers(cluster)
    assert informers.of(CONFIG_MAPS) is informers.of(CONFIG_MAPS)
    task = asyncio.create_task(informers.run())
    await informers.wait_synced()
    late = informers.of(SECRETS)
    assert late.list() == []
    await informers.wait_synced()
    assert [name_of(body) for body in late.list()] == ["s"]
    task.cancel()


@virtual_time
async def test_indexes_follow_changes() -> None:
    cluster = MemoryCluster()
    informer = SharedInformer(cluster, CONFIG_MAPS)
    add_controller_indexes(informer)
    async with following(informer):
        owner = await cluster.create(CONFIG_MAPS, config_map("owner"))
        reference = {"kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"], "controller": True}
        await cluster.create(CONFIG_MAPS, config_map("a", app="x"))
        await asyncio.sleep(0.1)
        assert sorted(map(name_of, informer.by_index(ORPHANS, "default"))) == ["a", "owner"]
        await cluster.patch(CONFIG_MAPS, "a", {"metadata": {"ownerReferences": [reference]}}, "default")
        await asyncio.sleep(0.1)
        assert [name_of(body) for body in controlled(informer, owner)] == ["a"]
        assert [name_of(body) for body in informer.by_index(ORPHANS, "default")] == ["owner"]


LABELS = st.dictionaries(st.sampled_from("xyz"), st.sampled_from("12"), max_size=3)
EXPRESSION = st.one_of(
    st.fixed_dictionaries({"key": st.sampled_from("xyz"), "operator": st.sampled_from(["Exists", "DoesNotExist"])}),
    st.fixed_dictionaries(
        {
            "key": st.sampled_from("xyz"),
            "operator": st.sampled_from(["In", "NotIn"]),
            "values": st.lists(st.sampled_from("12"), min_size=1, max_size=2),
        }
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(LABELS, max_size=8), LABELS, st.lists(EXPRESSION, max_size=2))
def test_selection_by_index_is_selection(objects: list[Any], labels: Any, expressions: list[Any]) -> None:
    async def check() -> None:
        cluster = MemoryCluster()
        cluster.seed(CONFIG_MAPS, *(config_map(str(n), **entry) for n, entry in enumerate(objects)))
        informer = SharedInformer(cluster, CONFIG_MAPS)
        async with following(informer):
            selector = {"matchLabels": labels, "matchExpressions": expressions}
            terms = [f"{key}={value}" for key, value in labels.items()]
            texts = {"Exists": "{key}", "DoesNotExist": "!{key}", "In": "{key} in ({v})", "NotIn": "{key} notin ({v})"}
            for entry in expressions:
                values = ",".join(entry.get("values", ()))
                terms.append(texts[entry["operator"]].format(key=entry["key"], v=values))
            listed = await cluster.list(CONFIG_MAPS, "default", label_selector=",".join(terms))
            found = selected(informer, "default", selector)
            assert sorted(map(name_of, found)) == sorted(map(name_of, listed.items))

    loop = VirtualTimeLoop()
    try:
        loop.run_until_complete(check())
    finally:
        loop.close()


@virtual_time
async def test_keeps_what_the_transform_makes() -> None:
    cluster = MemoryCluster()
    cluster.seed(CONFIG_MAPS, config_map("a", app="x"))

    def named(body: Object) -> Object:
        metadata = {name: body["metadata"][name] for name in ("name", "namespace", "resourceVersion", "uid")}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}

    informer = SharedInformer(cluster, CONFIG_MAPS, transform=named)
    last: list[Object | None] = []
    informer.add_handler(lambda old, new: last.append(old if new is None else new))
    async with following(informer):
        await cluster.patch(CONFIG_MAPS, "a", {"data": {"k": "v"}}, "default")
        await cluster.delete(CONFIG_MAPS, "a", "default")
        await asyncio.sleep(1)
    assert len(last) == 3
    assert all(body is not None and "data" not in body and "labels" not in body["metadata"] for body in last)


@virtual_time
async def test_shared_informers_drop_managed_fields() -> None:
    cluster = MemoryCluster()
    body = config_map("a", app="x")
    body["metadata"]["managedFields"] = [{"manager": "tests"}]
    cluster.seed(CONFIG_MAPS, body)
    informers = SharedInformers(cluster)
    informer = informers.of(CONFIG_MAPS)
    async with following(informer):
        found = informer.get("a", "default")
        assert found is not None
        assert "managedFields" not in found["metadata"]
        stored = cluster.object(CONFIG_MAPS, "a", "default")
        assert stored is not None
        assert "managedFields" in stored["metadata"]
