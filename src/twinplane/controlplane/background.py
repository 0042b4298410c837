"""Tasks that run beside something, and end with it. Entered by the parts of an API server that follow or renew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def background(**tasks: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Each under its name. What one of them raises ends that one only: they have boundaries of their own."""
    running = [asyncio.create_task(function(), name=name.replace("_", " ")) for name, function in tasks.items()]
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
