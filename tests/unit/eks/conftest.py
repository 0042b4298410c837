from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.cloud import regions
from tests.unit.eks import clusters


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[regions.Region]:
    async with regions.region(tmp_path / "region") as found:
        yield found


@pytest.fixture
async def demo(region: regions.Region) -> clusters.Demo:
    """A cluster named `demo` that is ACTIVE, in three subnets."""
    return await clusters.make(region)
