"""Auditing as a control plane runs it: a policy file and a log file, or nothing at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from twinplane.clock import Clock
from twinplane.controlplane.audit.audit import Audit
from twinplane.controlplane.audit.log import AuditLog
from twinplane.controlplane.audit.policy import Policy


@asynccontextmanager
async def auditing(policy_file: str, log_file: str, clock: Clock, random: Random) -> AsyncIterator[Audit | None]:
    """None when either name is empty. Raises `BadPolicy` and OSError for a policy that cannot be used."""
    if not policy_file or not log_file:
        yield None
        return
    policy = Policy.load(Path(policy_file))
    log = AuditLog(Path(log_file), clock)
    writer = asyncio.create_task(log.run(), name="audit log")
    try:
        yield Audit(policy, log.write, clock, random)
    finally:
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
