"""Watches: transitions, starts, bookmarks, limits; and, for any history, that events rebuild the state."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.api.harness import Api, api_server, config_map, pod
from twinplane.controlplane.api.objects import watching
from twinplane.controlplane.api.objects.entry import Change, Entry, Facts
from twinplane.controlplane.api.objects.selection import Selection
from twinplane.controlplane.api.objects.watching import Hub
from twinplane.controlplane.store.contract import Record
from twinplane.kubeclient.resources import CONFIG_MAPS, NODES, PODS
from twinplane.testing.virtual_time import VirtualClock, virtual_time

MAPS = "/api/v1/namespaces/default/configmaps"


class Stream:
    """Events of a watch, one at a time."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self._lines: list[bytes] = []

    async def next(self) -> dict[str, Any]:
        while not self._lines:
            self._lines = (await anext(self._stream)).splitlines()
        found: dict[str, Any] = orjson.loads(self._lines.pop(0))
        return found

    async def shown(self) -> tuple[str, str]:
        event = await self.next()
        return event["type"], event["object"]["metadata"].get("name", "")

    async def rest(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self._lines] + [
            orjson.loads(line) async for piece in self._stream for line in piece.splitlines()
        ]


@asynccontextmanager
async def watching_(api: Api, target: str, **more: Any) -> AsyncIterator[Stream]:
    response = await api.send("GET", target, **more)
    assert response.status == 200, response.body
    assert response.stream is not None
    try:
        yield Stream(response.stream)
    finally:
        close = getattr(response.stream, "aclose", None)
        if close is not None:
            await close()


async def test_state_first_then_changes() -> None:
    async with api_server() as api:
        await api.client.create(CONFIG_MAPS, config_map("a"), "default")
        async with watching_(api, f"{MAPS}?watch=1") as stream:
            assert await stream.shown() == ("ADDED", "a")
            await api.client.patch(CONFIG_MAPS, "a", {"data": {"x": "y"}}, "default")
            deleted_at = await api.client.create(CONFIG_MAPS, config_map("b"), "default")
            await api.client.delete(CONFIG_MAPS, "a", "default")
            assert await stream.shown() == ("MODIFIED", "a")
            assert await stream.shown() == ("ADDED", "b")
            gone = await stream.next()
            assert gone["type"] == "DELETED"
            assert gone["object"]["data"] == {"x": "y"}
            assert int(gone["object"]["metadata"]["resourceVersion"]) > int(deleted_at["metadata"]["resourceVersion"])


async def test_a_list_and_a_watch_from_its_revision_miss_nothing() -> None:
    async with api_server() as api:
        found = await api.client.list(CONFIG_MAPS, "default")
        await api.client.create(CONFIG_MAPS, config_map("between"), "default")
        async with watching_(api, f"{MAPS}?watch=1&resourceVersion={found.resource_version}") as stream:
            assert await stream.shown() == ("ADDED", "between")


async def test_selector_transitions() -> None:
    async with api_server() as api, watching_(api, f"{MAPS}?watch=1&labelSelector=on%3Dyes") as stream:
        await api.client.create(CONFIG_MAPS, config_map("a"), "default")
        await api.client.patch(CONFIG_MAPS, "a", {"metadata": {"labels": {"on": "yes"}}}, "default")
        await api.client.patch(CONFIG_MAPS, "a", {"data": {"x": "y"}}, "default")
        last = await api.client.patch(CONFIG_MAPS, "a", {"metadata": {"labels": {"on": "no"}}}, "default")
        assert await stream.shown() == ("ADDED", "a")
        assert await stream.shown() == ("MODIFIED", "a")
        gone = await stream.next()
        assert gone["type"] == "DELETED"
        assert gone["object"]["metadata"]["labels"] == {"on": "yes"}
        assert gone["object"]["metadata"]["resourceVersion"] == last["metadata"]["resourceVersion"]


async def test_pods_of_a_node_see_arrival_and_departure() -> None:
    target = "/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn1"
    async with api_server() as api, watching_(api, target) as stream:
        await api.client.create(PODS, pod("other", node="n2"), "default")
        await api.client.create(PODS, pod("a"), "default")
        binding = {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n1"}}
        await api.client.create(PODS, binding, "default", name="a", subresource="binding")
        assert await stream.shown() == ("ADDED", "a")
        await api.client.delete(PODS, "a", "default", grace_period_seconds=0)
        assert await stream.shown() == ("DELETED", "a")


async def test_one_object_by_name() -> None:
    async with api_server() as api, watching_(api, f"{MAPS}?watch=1&fieldSelector=metadata.name%3Db") as stream:
        await api.client.create(CONFIG_MAPS, config_map("a"), "default")
        await api.client.create(CONFIG_MAPS, config_map("b"), "default")
        assert await stream.shown() == ("ADDED", "b")


async def test_watch_list_ends_with_a_marked_bookmark() -> None:
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with api_server() as api:
        await api.client.create(CONFIG_MAPS, config_map("a"), "default")
        async with watching_(api, f"{MAPS}?{query}") as stream:
            assert await stream.shown() == ("ADDED", "a")
            event = await stream.next()
            assert event["type"] == "BOOKMARK"
            metadata = event["object"]["metadata"]
            assert metadata["annotations"] == {"k8s.io/initial-events-end": "true"}
            assert metadata["resourceVersion"] == str(api.runtime.cache.revision)


@virtual_time
async def test_bookmarks_tell_the_revision_of_the_whole_server(clock: VirtualClock) -> None:
    async with api_server(clock=clock) as api, watching_(api, f"{MAPS}?watch=1&allowWatchBookmarks=true") as stream:
        await api.client.create(NODES, {"metadata": {"name": "n"}})
        event = await stream.next()
        assert event["type"] == "BOOKMARK"
        assert event["object"]["kind"] == "ConfigMap"
        assert event["object"]["metadata"]["resourceVersion"] == str(api.runtime.cache.revision)
        assert clock.now() % 60 <= 60


@virtual_time
async def test_a_watch_ends_with_its_timeout(clock: VirtualClock) -> None:
    async with api_server(clock=clock) as api:
        began = clock.now()
        async with watching_(api, f"{MAPS}?watch=1&timeoutSeconds=7") as stream:
            assert await stream.rest() == []
        assert clock.now() - began == 7
        assert api.runtime.cache.watcher_count() == 0


async def test_too_old_and_from_the_future() -> None:
    async with api_server() as api:
        async with watching_(api, f"{MAPS}?watch=1&resourceVersion=1") as stream:
            await api.client.create(CONFIG_MAPS, config_map("a"), "default")
            assert await stream.shown() == ("ADDED", "a")
        api.runtime.cache.hub(CONFIG_MAPS)._oldest = 2
        async with watching_(api, f"{MAPS}?watch=1&resourceVersion=1") as stream:
            event = await stream.next()
            assert event["type"] == "ERROR"
            assert event["object"]["code"] == 410
            assert event["object"]["reason"] == "Expired"
            assert event["object"]["message"] == "too old resource version: 1 (2)"


async def test_tables_are_watched_row_by_row() -> None:
    accept = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    async with api_server() as api, watching_(api, f"{MAPS}?watch=1", headers=accept) as stream:
        await api.client.create(CONFIG_MAPS, config_map("a"), "default")
        event = await stream.next()
        assert event["object"]["kind"] == "Table"
        assert event["object"]["rows"][0]["cells"][0] == "a"


async def test_a_watch_ends_when_the_cache_closes() -> None:
    async with api_server() as api, watching_(api, f"{MAPS}?watch=1") as stream:
        await api.runtime.cache.close()
        assert await stream.rest() == []


class Plain:
    """A representation that counts how often it is asked."""

    shared = False
    follows = False

    def __init__(self, key: str = "plain") -> None:
        self.key: object = key
        self.rendered = 0

    def render(self, value: bytes) -> bytes:
        self.rendered += 1
        return value

    def bookmark(self, revision: int, *, initial_events_end: bool = False) -> bytes:
        return b"%d" % revision


def entry(name: str, revision: int, node: str = "", namespace: str = "default") -> Entry:
    body = {"metadata": {"name": name, "resourceVersion": str(revision)}}
    record = Record(f"/registry/core/pods/{namespace}/{name}", orjson.dumps(body), revision, revision)
    return Entry(record, namespace, name, Facts("", {}, {"spec.nodeName": node}))


def by_node(node: str) -> Selection:
    return Selection(node=node, tests=(lambda entry: entry.fields["spec.nodeName"] == node,), text=("", node))


async def test_an_event_is_rendered_once_and_given_to_its_readers_only() -> None:
    hub, view = Hub(0), Plain()
    watchers = [hub.add(by_node(f"n{number}"), view, (), bookmarks=False) for number in range(1000)]
    same = [hub.add(by_node("n7"), view, (), bookmarks=False) for _ in range(5)]
    hub.publish(Change(1, entry("a", 1, "n7"), None))
    assert view.rendered == 1
    for watcher in (watchers[7], *same):
        assert orjson.loads(await anext(watcher))["type"] == "ADDED"
    assert len(hub._concerned(Change(2, entry("b", 2, "n7"), None))) == 1
    for watcher in (*watchers, *same):
        watcher.close()
    assert hub.watcher_count == 0
    assert not hub._by_place


async def test_a_slow_watcher_is_cut_off() -> None:
    hub = Hub(0)
    watcher = hub.add(Selection(), Plain(), (), bookmarks=False)
    for revision in range(1, watching.BACKLOG_EVENTS + 2):
        hub.publish(Change(revision, entry("a", revision), None))
    assert [piece async for piece in watcher] == []
    assert hub.watcher_count == 0


async def test_the_history_is_bounded() -> None:
    hub = Hub(0)
    for revision in range(1, watching.HISTORY + 10):
        hub.publish(Change(revision, entry("a", revision), None))
    assert len(hub._history) == watching.HISTORY
    oldest = hub._oldest
    assert len(hub.since(oldest, Selection(), Plain())) == watching.HISTORY
    with pytest.raises(watching.TooOld, match=re.escape(f"too old resource version: {oldest - 1} ({oldest})")):
        hub.since(oldest - 1, Selection(), Plain())


steps = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from(["put", "delete"]), st.sampled_from(["yes", "no"])), max_size=30
)


@settings(max_examples=30, deadline=None)
@given(steps, st.integers(0, 30))
def test_events_rebuild_what_a_selector_lists(history: list[tuple[str, str, str]], begin: int) -> None:
    """Whenever a watch starts, list + events is what a later list shows."""

    async def run() -> None:
        async with api_server() as api:
            state: dict[str, str] = {}
            for index, step in enumerate([*history, ("", "", "")]):
                if index == min(begin, len(history)):
                    listed = await api.client.list(CONFIG_MAPS, "default", label_selector="on=yes")
                    state = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in listed.items}
                if step[0]:
                    await apply_step(api, *step)
            query = f"watch=1&labelSelector=on%3Dyes&resourceVersion={listed.resource_version}"
            async with watching_(api, f"{MAPS}?{query}") as stream:
                await api.runtime.cache.close()
                for event in await stream.rest():
                    metadata = event["object"]["metadata"]
                    assert (metadata["name"] in state) == (event["type"] != "ADDED")
                    if event["type"] == "DELETED":
                        del state[metadata["name"]]
                    else:
                        state[metadata["name"]] = metadata["resourceVersion"]
            final = await api.client.list(CONFIG_MAPS, "default", label_selector="on=yes")
            assert state == {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in final.items}

    asyncio.run(run())


async def apply_step(api: Api, name: str, action: str, on: str) -> None:
    exists = api.runtime.cache.get(CONFIG_MAPS, "default", name) is not None
    if action == "delete":
        if exists:
            await api.client.delete(CONFIG_MAPS, name, "default")
    elif exists:
        await api.client.patch(CONFIG_MAPS, name, {"metadata": {"labels": {"on": on}}}, "default")
    else:
        await api.client.create(CONFIG_MAPS, config_map(name, on=on), "default")
