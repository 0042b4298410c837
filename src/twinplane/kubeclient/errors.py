"""The errors of the Kubernetes API: one exception that carries a `metav1.Status`.

The API server raises it and writes it out once, at its HTTP edge; clients read it back into the same class. Reasons and
codes are those of k8s.io/apimachinery `pkg/api/errors` and `metav1.StatusReason`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

CODE_BY_REASON = {
    "BadRequest": 400,
    "Unauthorized": 401,
    "Forbidden": 403,
    "NotFound": 404,
    "MethodNotAllowed": 405,
    "NotAcceptable": 406,
    "AlreadyExists": 409,
    "Conflict": 409,
    "Expired": 410,
    "Gone": 410,
    "RequestEntityTooLarge": 413,
    "UnsupportedMediaType": 415,
    "Invalid": 422,
    "TooManyRequests": 429,
    "InternalError": 500,
    "ServiceUnavailable": 503,
    "Timeout": 504,
    "ServerTimeout": 500,
}


class ApiError(Exception):
    """A refused request. `details` and `causes` follow metav1.StatusDetails."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        code: int | None = None,
        details: dict[str, Any] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.code = code if code is not None else CODE_BY_REASON.get(reason, 500)
        self.details = details
        self.retry_after = retry_after

    def status(self) -> dict[str, Any]:
        """The `metav1.Status` object that goes on the wire."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        details = dict(self.details or {})
        if self.retry_after is not None:
            details["retryAfterSeconds"] = self.retry_after
        if details:
            status["details"] = details
        if not self.reason:
            del status["reason"]
        return status

    @classmethod
    def from_status(cls, status: dict[str, Any], code: int) -> ApiError:
        details = status.get("details")
        return cls(
            status.get("reason", ""),
            status.get("message", ""),
            code=status.get("code", code),
            details=details,
            retry_after=(details or {}).get("retryAfterSeconds"),
        )


def _details(group: str, kind: str, name: str, **more: Any) -> dict[str, Any]:
    named = {"name": name, "group": group, "kind": kind}
    return {key: value for key, value in named.items() if value} | more


def qualified(plural: str, group: str) -> str:
    """`deployments.apps`, or `pods` in the core group: how messages name a resource."""
    return f"{plural}.{group}" if group else plural


def not_found(group: str, plural: str, name: str) -> ApiError:
    message = f'{qualified(plural, group)} "{name}" not found'
    return ApiError("NotFound", message, details=_details(group, plural, name))


def already_exists(group: str, plural: str, name: str) -> ApiError:
    message = f'{qualified(plural, group)} "{name}" already exists'
    return ApiError("AlreadyExists", message, details=_details(group, plural, name))


def conflict(group: str, plural: str, name: str, why: str) -> ApiError:
    message = f'Operation cannot be fulfilled on {qualified(plural, group)} "{name}": {why}'
    return ApiError("Conflict", message, details=_details(group, plural, name))


OBJECT_MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def forbidden(group: str, plural: str, name: str, why: str) -> ApiError:
    """`name` may be empty (a list or a create with generateName), as upstream words it."""
    subject = f'{qualified(plural, group)} "{name}"' if name else qualified(plural, group)
    message = f"{subject} is forbidden: {why}"
    return ApiError("Forbidden", message, details=_details(group, plural, name))


def bad_request(message: str) -> ApiError:
    return ApiError("BadRequest", message)


def unauthorized() -> ApiError:
    return ApiError("Unauthorized", "Unauthorized")


def expired(message: str) -> ApiError:
    return ApiError("Expired", message)


def invalid(group: str, kind: str, name: str, causes: Sequence[FieldError]) -> ApiError:
    """422 with one cause a field; `kind` is the Kind, not the plural, as upstream has it."""
    texts = [cause.text() for cause in causes]
    joined = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    subject = f"{kind}.{group}" if group else kind
    details = _details(group, kind, name, causes=[cause.cause() for cause in causes])
    return ApiError("Invalid", f'{subject} "{name}" is invalid: {joined}', details=details)


class FieldError:
    """One entry of a `field.ErrorList` (k8s.io/apimachinery pkg/util/validation/field).

    `type` is the cause's reason (FieldValueRequired, FieldValueInvalid, FieldValueNotSupported, FieldValueForbidden,
    FieldValueDuplicate, FieldValueNotFound, FieldValueTypeInvalid, FieldValueTooLong, FieldValueTooMany); `path` is
    e.g. `spec.containers[0].name`; `value` is shown for Invalid, NotSupported and Duplicate.
    """

    __slots__ = ("detail", "path", "shown", "type", "value")

    LABELS: ClassVar[dict[str, str]] = {
        "FieldValueRequired": "Required value",
        "FieldValueInvalid": "Invalid value",
        "FieldValueNotSupported": "Unsupported value",
        "FieldValueForbidden": "Forbidden",
        "FieldValueDuplicate": "Duplicate value",
        "FieldValueNotFound": "Not found",
        "FieldValueTypeInvalid": "Invalid value",
        "FieldValueTooLong": "Too long",
        "FieldValueTooMany": "Too many",
    }

    def __init__(self, type: str, path: str, detail: str = "", value: Any = None) -> None:
        self.type = type
        self.path = path
        self.detail = detail
        self.value = value

    def body(self) -> str:
        label = self.LABELS[self.type]
        if self.type not in ("FieldValueRequired", "FieldValueForbidden", "FieldValueTooLong", "FieldValueTooMany"):
            label += ": " + go_value(self.value)
        return f"{label}: {self.detail}" if self.detail else label

    def text(self) -> str:
        return f"{self.path}: {self.body()}"

    def cause(self) -> dict[str, Any]:
        return {"reason": self.type, "message": self.body(), "field": self.path}


def go_value(value: Any) -> str:
    """A value as field errors print it: strings quoted as Go's %q, the rest as JSON."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if value is None:
        return "null"
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
