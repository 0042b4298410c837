"""How a webhook's no, or its silence, reads to the client (apiserver `plugin/webhook/errors`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twinplane.controlplane.admission.webhooks.configuration import Hook
from twinplane.kubeclient.errors import ApiError, bad_request


def denied(hook: Hook, result: Mapping[str, Any] | None) -> ApiError:
    """The webhook's own status with its name put before the message; never below 400."""
    status = result or {}
    code = status.get("code")
    message = f'admission webhook "{hook.name}" denied the request'
    explanation = status.get("message") or status.get("reason")
    message += f": {explanation}" if explanation else " without explanation"
    details = status.get("details")
    return ApiError(
        str(status.get("reason") or ""),
        message,
        code=code if isinstance(code, int) and code >= 400 else 400,
        details=dict(details) if isinstance(details, dict) else None,
    )


def failed(hook: Hook, why: str) -> ApiError:
    message = f'failed calling webhook "{hook.name}": {why}'
    return internal(message)


def internal(message: str) -> ApiError:
    details = {"causes": [{"message": message}]}
    return ApiError("InternalError", f"Internal error occurred: {message}", details=details)


def no_dry_run(hook: Hook) -> ApiError:
    return bad_request(f'admission webhook "{hook.name}" does not support dry run')
