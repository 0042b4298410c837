"""Stores to test. A real etcd joins by adding its opener to `OPENERS`: the contract tests know no more than this."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.unit.store.values import FixedClock, stamp
from twinplane.controlplane.store.contract import Store
from twinplane.controlplane.store.embedded import EmbeddedStore


async def open_in_memory(_: Path) -> Store:
    return await EmbeddedStore.open(None, stamp=stamp, clock=FixedClock())


async def open_on_disk(directory: Path) -> Store:
    return await EmbeddedStore.open(directory / "store.db", stamp=stamp, clock=FixedClock())


OPENERS: dict[str, Callable[[Path], Awaitable[Store]]] = {"memory": open_in_memory, "disk": open_on_disk}


@pytest.fixture(params=OPENERS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened = await OPENERS[request.param](tmp_path)
    yield opened
    await opened.close()
