"""kill -9 in the middle of writing: everything that was acknowledged is there, and the revision never goes back."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

from tests.unit.store.values import FixedClock, stamp
from twinplane.controlplane.store.embedded import EmbeddedStore

WRITER = """
import asyncio, sys
from pathlib import Path
from tests.unit.store.values import FixedClock, stamp
from twinplane.controlplane.store.embedded import EmbeddedStore

async def write(store, worker):
    key = f"/{worker}"
    record = await store.get(key) or await store.create(key, b"0")
    count = int(record.value.split(b"@")[0])
    while True:
        count += 1
        record = await store.update(key, b"%d" % count, record.revision)
        extra = await store.create(f"/extra/{worker}/{count}", b"x" * 500)
        last = await store.delete(extra.key, extra.revision)
        sys.stdout.write(f"{worker} {count} {last.revision}\\n")
        sys.stdout.flush()

async def main():
    store = await EmbeddedStore.open(Path(sys.argv[1]), stamp=stamp, clock=FixedClock())
    async with asyncio.TaskGroup() as group:
        for worker in range(8):
            group.create_task(write(store, worker))

asyncio.run(main())
"""
ROUNDS = 3
LINES = 150


def write_until_killed(path: Path) -> list[tuple[int, int, int]]:
    """What the writer was told is durable: (worker, count, revision)."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(LINES)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        process.wait(10)
    acknowledged = [tuple(map(int, line.split())) for line in lines if line.endswith("\n")]
    return [(worker, count, revision) for worker, count, revision in acknowledged]


async def check(path: Path, acknowledged: list[tuple[int, int, int]], floor: int) -> int:
    store = await EmbeddedStore.open(path, stamp=stamp, clock=FixedClock())
    try:
        assert store.revision >= max(floor, *(revision for _, _, revision in acknowledged))
        for worker, count, _ in acknowledged:
            record = await store.get(f"/{worker}")
            assert record is not None
            assert int(record.value.split(b"@")[0]) >= count
            assert await store.get(f"/extra/{worker}/{count}") is None, "an acknowledged delete came back"
        return store.revision
    finally:
        await store.close()


def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    revision = 0
    for _ in range(ROUNDS):
        acknowledged = write_until_killed(path)
        assert len(acknowledged) >= LINES
        revision = asyncio.run(check(path, acknowledged, revision))
