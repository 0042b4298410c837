"""What the embedded store does on this machine: `python -m benchmarks.store [--records N]`.

Durable creates by 64 concurrent writers, updates, pages of lists, a watcher's rate, memory of a record and the time of
a restart. Values are 2 KB of JSON, as an ordinary pod; stamping is part of every write.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import uvloop

from twinplane.clock import SystemClock
from twinplane.controlplane.store.contract import Event
from twinplane.controlplane.store.embedded import EmbeddedStore

WRITERS = 64
VALUE = b'{"metadata":{"name":"web","resourceVersion":"@"},"spec":"' + b"x" * 1990 + b'"}'
PREFIX = "/registry/pods/"


def stamp(value: bytes, revision: int) -> bytes:
    head, tail = value.split(b"@", 1)
    return b"%b%d%b" % (head, revision, tail)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def key(number: int) -> str:
    # Neighbours in time are not neighbours in key order, as with generated pod names.
    return f"{PREFIX}namespace-{number % 50}/web-{(number * 2654435761) % 2**32:08x}-{number}"


async def spread(count: int, write: Callable[[int], Awaitable[object]]) -> float:
    """Writes a second, by `WRITERS` tasks that each wait for their answer."""
    numbers = iter(range(count))

    async def writer() -> None:
        for number in numbers:
            await write(number)

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(WRITERS):
            group.create_task(writer())
    return count / (time.perf_counter() - begin)


async def count_events(watch: AsyncIterator[list[Event]], expected: int) -> None:
    seen = 0
    async for events in watch:
        seen += len(events)
        if seen >= expected:
            return


async def open_store(path: Path) -> EmbeddedStore:
    return await EmbeddedStore.open(path, stamp=stamp, clock=SystemClock())


async def measure_writes(store: EmbeddedStore, count: int) -> None:
    gc.collect()
    before = resident_bytes()
    rate = await spread(count, lambda number: store.create(key(number), VALUE))
    gc.collect()
    print(f"creates, durable, {WRITERS} writers    {rate:10,.0f} /s")
    print(f"memory of a {len(VALUE):,} byte record   {(resident_bytes() - before) / count:10,.0f} bytes, with history")
    found = (await store.range(PREFIX, limit=5000)).records

    async def rewrite(number: int) -> None:
        await store.update(found[number].key, VALUE, found[number].revision)

    async with store.watch(PREFIX, store.revision) as watch, asyncio.TaskGroup() as group:
        group.create_task(count_events(watch, len(found)))
        rate = await spread(len(found), rewrite)
    print(f"updates, durable, with a watcher  {rate:10,.0f} /s")


async def measure_reads(store: EmbeddedStore) -> None:
    begin = time.perf_counter()
    page = await store.range(PREFIX, limit=10_000)
    print(f"list of {len(page.records):,} records           {(time.perf_counter() - begin) * 1e3:10.1f} ms")
    begin = time.perf_counter()
    page = await store.range(PREFIX, limit=500, revision=store.revision - 1000)
    print(f"page of 500, 1,000 changes back   {(time.perf_counter() - begin) * 1e3:10.1f} ms")


async def measure(directory: Path, count: int) -> None:
    path = directory / "store.db"
    store = await open_store(path)
    await measure_writes(store, count)
    await measure_reads(store)
    await store.close()
    del store
    begin = time.perf_counter()
    store = await open_store(path)
    print(f"restart with {count:,} records      {time.perf_counter() - begin:10.2f} s")
    await store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=50_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(Path(directory), arguments.records))


if __name__ == "__main__":
    main()
