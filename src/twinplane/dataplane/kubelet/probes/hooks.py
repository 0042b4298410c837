"""Lifecycle hooks: postStart and preStop. Source: kubelet `lifecycle/handlers.go`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from twinplane.dataplane.kubelet.probes.actions import Prober, Target

HOOK_AGENT = "kube-lifecycle"


class HookFailed(Exception):
    """With what the hook said."""


async def run_hook(prober: Prober, hook: Mapping[str, Any], target: Target) -> None:
    """As long as it takes. Raises `HookFailed`."""
    if hook.get("sleep") is not None:
        await asyncio.sleep(float(hook["sleep"].get("seconds") or 0))
        return
    try:
        answer = await prober.ask(hook, target, 0, agent=HOOK_AGENT)
    except ValueError as error:
        raise HookFailed(str(error)) from error
    if answer.verdict != "success":
        what = "Exec" if hook.get("exec") else "HTTP"
        raise HookFailed(f"{what} lifecycle hook failed: {answer.output}")
