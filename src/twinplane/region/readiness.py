"""Waiting until a control plane serves: then a cluster is ACTIVE, and `twinplane start controlplane` is done."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from twinplane.cloud.eks.contract import ControlPlaneFailed
from twinplane.controlplane.configuration import ControlPlaneConfiguration

READY_SECONDS_MAX = 60
POLL_SECONDS = 0.02


async def wait_until_ready(configuration: ControlPlaneConfiguration, log: Path) -> None:
    """Raises `ControlPlaneFailed`, which names the log, when it does not say so in time."""
    context = ssl.create_default_context(cafile=configuration.ca_file)
    try:
        async with asyncio.timeout(READY_SECONDS_MAX):
            while not await _ready(configuration, context):  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError as error:
        message = f"the control plane was not ready after {READY_SECONDS_MAX} s; see {log}"
        raise ControlPlaneFailed(message) from error


async def _ready(configuration: ControlPlaneConfiguration, context: ssl.SSLContext) -> bool:
    try:
        reader, writer = await asyncio.open_connection(configuration.host, configuration.port, ssl=context)
    except OSError:
        return False
    try:
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return (await reader.readline()).split()[1:2] == [b"200"]
    except OSError:
        return False
    finally:
        # Not a TLS goodbye, which would be waited for.
        writer.transport.abort()
