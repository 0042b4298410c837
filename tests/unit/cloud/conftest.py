from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.cloud import regions


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[regions.Region]:
    async with regions.region(tmp_path / "region") as found:
        yield found
