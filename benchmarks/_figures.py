"""The figures of one API server, each a function of a `Target`: closed loops, lists, watches, custom resources.

Every rate is the median of several rounds, with the 99th percentile of its round and the processor time that the
server spent on a request: on a machine that others use too, that is what can be compared.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import orjson

from benchmarks import _custom_resource
from benchmarks._load import Client, hold_watches, timed_gets
from benchmarks._target import FILLED, MERGE, PODS, PODS_OF_NODES, Target, pod, status_patch

ROUNDS = 3
LISTS = 9
CHANGES = 9
_serial = itertools.count()

Send = Callable[[Client, int], Awaitable[bytes]]


class Row(NamedTuple):
    figure: str
    measured: str
    processor: str
    """Of the server, a request."""


class Rate(NamedTuple):
    a_second: float
    p99_seconds: float
    processor_seconds: float

    def row(self, figure: str) -> Row:
        return Row(
            figure,
            f"{self.a_second:,.0f}/s, p99 {self.p99_seconds * 1e3:.0f} ms",
            f"{self.processor_seconds * 1e6:,.0f} us",
        )


async def _round(target: Target, clients: list[Client], seconds: float, send: Send) -> Rate:
    times: list[float] = []
    spent, began = target.processor_seconds(), time.monotonic()
    end = began + seconds

    async def loop(client: Client) -> None:
        sent = time.monotonic()
        while sent < end:
            await send(client, next(_serial))
            now = time.monotonic()
            times.append(now - sent)
            sent = now

    await asyncio.gather(*map(loop, clients))
    took = time.monotonic() - began
    times.sort()
    return Rate(len(times) / took, times[len(times) * 99 // 100], (target.processor_seconds() - spent) / len(times))


async def rate(target: Target, clients: list[Client], seconds: float, send: Send) -> Rate:
    rounds = [await _round(target, clients, seconds, send) for _ in range(ROUNDS)]
    return sorted(rounds)[ROUNDS // 2]


async def get(target: Target, clients: list[Client], seconds: float) -> Row:
    path = f"{FILLED}/pod-1"
    found = await rate(target, clients[:32], seconds, lambda client, _: client.request("GET", path))
    return found.row("GET one pod, 32 connections")


async def create(target: Target, clients: list[Client], seconds: float) -> Row:
    def send(client: Client, number: int) -> Awaitable[bytes]:
        return client.request("POST", PODS, orjson.dumps(pod(f"made-{number}")), expect=201)

    found = await rate(target, clients, seconds, send)
    return found.row("CREATE pods, full admission, durable, 64 connections")


async def create_distinct(target: Target, clients: list[Client], seconds: float) -> Row:
    """Pods that share nothing but their form: none is made of the one before it."""

    def send(client: Client, number: int) -> Awaitable[bytes]:
        content = orjson.dumps(pod(f"own-{number}", labels={"app": f"own-{number}"}))
        return client.request("POST", PODS, content, expect=201)

    found = await rate(target, clients, seconds, send)
    return found.row("CREATE pods, each with labels of its own, 64 connections")


async def patch(target: Target, clients: list[Client], seconds: float) -> Row:
    def send(client: Client, number: int) -> Awaitable[bytes]:
        path = f"{FILLED}/pod-{number % 10_000}/status"
        return client.request("PATCH", path, status_patch(number), content_type=MERGE)

    found = await rate(target, clients, seconds, send)
    return found.row("PATCH status (merge), 64 connections")


async def listing(target: Target, figure: str, query: str = "") -> Row:
    """A whole list of the filled namespace by one connection."""
    spent = target.processor_seconds()
    found = await asyncio.to_thread(timed_gets, target.port, target.context, target.token, FILLED + query, LISTS)
    spent = (target.processor_seconds() - spent) / LISTS
    total = statistics.median(each.total for each in found) * 1e3
    first = statistics.median(each.first_byte for each in found) * 1e3
    size = found[0].size / 1e6
    return Row(figure, f"{total:.1f} ms, first byte {first:.1f} ms ({size:.1f} MB)", f"{spent * 1e3:,.1f} ms")


async def selector(target: Target, count: int) -> Row:
    return await listing(target, f"LIST by label, 100 in {count:,}", "?labelSelector=hundred%3Dh-42")


async def fan_out(target: Target, client: Client, watchers: int) -> Row:
    """From a write's start to the last of the watchers having the event."""
    streams = await target.clients(watchers)
    revision = await _revision(client)
    for stream in streams:
        # One after the other: fairness refuses a thousand beginnings at once of one user.
        begun = stream.until_data()
        stream.begin("GET", f"{FILLED}?watch=1&resourceVersion={revision}")
        await begun
    await asyncio.sleep(0.5)
    times, spent = [], target.processor_seconds()
    for number in range(CHANGES):
        began = time.monotonic()
        waits = [stream.until_data() for stream in streams]
        await client.request("PATCH", f"{FILLED}/pod-1/status", status_patch(-number), content_type=MERGE)
        await asyncio.gather(*waits)
        times.append(time.monotonic() - began)
        await asyncio.sleep(0.1)
    spent = (target.processor_seconds() - spent) / CHANGES
    for stream in streams:
        stream.close()
    middle, best = statistics.median(times) * 1e3, min(times) * 1e3
    return Row(
        f"one change to {watchers:,} watchers", f"{middle:.0f} ms for all (best {best:.0f})", f"{spent * 1e3:,.1f} ms"
    )


async def by_node(target: Target, client: Client, watchers: int, seconds: float) -> Row:
    """Changes of pods of `spec.nodeName` that is watched by one of so many, one after the other by one connection."""
    revision = await _revision(client)
    paths = (
        f"/api/v1/pods?watch=1&resourceVersion={revision}&fieldSelector=spec.nodeName%3Dnode-{number % PODS_OF_NODES}"
        for number in range(watchers)
    )
    held = await asyncio.to_thread(hold_watches, target.port, target.context, target.token, paths)

    def send(client: Client, number: int) -> Awaitable[bytes]:
        return client.request("PATCH", f"{FILLED}/pod-{number % 10}/status", status_patch(number), content_type=MERGE)

    try:
        found = await rate(target, [client], seconds, send)
    finally:
        for connection in held:
            connection.close()
    return found.row(f"pod changes, {watchers:,} watchers by spec.nodeName, 1 connection")


async def custom(target: Target, clients: list[Client], seconds: float) -> Row:
    await _custom_resource.establish(clients[0])

    def send(client: Client, number: int) -> Awaitable[bytes]:
        return client.request("POST", _custom_resource.PATH, _custom_resource.body(number), expect=201)

    found = await rate(target, clients, seconds, send)
    return found.row("CREATE custom resource, 200 lines of schema, 2 CEL rules, 64 connections")


async def _revision(client: Client) -> str:
    body = orjson.loads(await client.request("GET", f"{FILLED}?limit=1"))
    return str(body["metadata"]["resourceVersion"])
