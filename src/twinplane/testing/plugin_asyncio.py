"""The fixtures for async tests; registered by `plugin` where pytest-asyncio runs them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from twinplane.testing.plugin import cluster_for

if TYPE_CHECKING:
    from twinplane.testing.running import AsyncCluster


@pytest_asyncio.fixture
async def twinplane_async_cluster(request: pytest.FixtureRequest) -> AsyncIterator[AsyncCluster]:
    """A cluster of the test's own, on the test's event loop."""
    async with cluster_for(request) as cluster:
        yield cluster
