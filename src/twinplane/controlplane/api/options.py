"""Query parameters of a request as metav1's option types, checked as upstream's validation does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twinplane.controlplane.api.contract import Request
from twinplane.controlplane.api.routing import is_true
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError, FieldError, bad_request, invalid

FIELD_VALIDATION = ("Ignore", "Warn", "Strict")
_PROPAGATION = ("Background", "Foreground", "Orphan", "nil")
_MATCHES = ("", "Exact", "NotOlderThan")
MANAGER_LENGTH = 128
_CONTROL = re.compile(r"[^\x20-\x7e\x80-\U0010ffff]")


def supported(values: tuple[str, ...]) -> str:
    return "supported values: " + ", ".join(f'"{value}"' for value in values)


def invalid_options(kind: str, errors: list[FieldError]) -> ApiError:
    return invalid("meta.k8s.io", kind, "", errors)


def boolean(query: Mapping[str, str], name: str) -> bool | None:
    """None when it is not there. As upstream reads queries: whatever is not `0` or `false` is true."""
    value = query.get(name)
    return None if value is None else is_true(value)


def integer(query: Mapping[str, str], name: str) -> int | None:
    value = query.get(name)
    if value is None or value == "":
        return None
    if not re.fullmatch(r"[+-]?\d{1,18}", value):
        raise bad_request(f'strconv.ParseInt: parsing "{value}": invalid syntax')
    return int(value)


def revision(text: str) -> int:
    """A resourceVersion as a number; empty is 0."""
    if not text:
        return 0
    if not re.fullmatch(r"\d{1,19}", text):
        raise bad_request(f'Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax')
    return int(text)


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """CreateOptions, UpdateOptions and PatchOptions in one."""

    kind: str
    dry_run: bool
    field_manager: str
    field_validation: str
    force: bool | None = None

    def body(self) -> Object:
        """The options object that admission is shown."""
        shown: Object = {"kind": self.kind, "apiVersion": "meta.k8s.io/v1"}
        if self.dry_run:
            shown["dryRun"] = ["All"]
        if self.field_manager:
            shown["fieldManager"] = self.field_manager
        return shown


def write_options(request: Request, kind: str) -> WriteOptions:
    """Raises Invalid as upstream's ValidateCreateOptions and its siblings, BadRequest for unreadable values."""
    query = request.query
    if not query:
        return WriteOptions(kind, False, _user_agent(request), "Warn")
    errors: list[FieldError] = []
    dry_run = _dry_run(query.get("dryRun"), errors)
    manager = query.get("fieldManager", "")
    if len(manager) > MANAGER_LENGTH:
        errors.append(FieldError("FieldValueTooLong", "fieldManager", f"may not be more than {MANAGER_LENGTH} bytes"))
    if _CONTROL.search(manager):
        detail = "should only contain printable characters"
        errors.append(FieldError("FieldValueInvalid", "fieldManager", detail, manager))
    validation = query.get("fieldValidation", "") or "Warn"
    if validation not in FIELD_VALIDATION:
        detail = supported(FIELD_VALIDATION)
        errors.append(FieldError("FieldValueNotSupported", "fieldValidation", detail, validation))
    if errors:
        raise invalid_options(kind, errors)
    return WriteOptions(kind, dry_run, manager or _user_agent(request), validation, boolean(query, "force"))


def _dry_run(value: Any, errors: list[FieldError]) -> bool:
    given = [value] if isinstance(value, str) else value
    if not given or given == [""]:
        return False
    if given != ["All"]:
        errors.append(FieldError("FieldValueNotSupported", "dryRun", supported(("All",)), given))
    return True


def _user_agent(request: Request) -> str:
    """The manager's name when none is given: the User-Agent up to its first slash."""
    return request.headers.get("user-agent", "").partition("/")[0][:MANAGER_LENGTH]


@dataclass(frozen=True, slots=True)
class ListOptions:
    label_selector: str
    field_selector: str
    limit: int
    continue_: str
    resource_version: str
    match: str
    timeout_seconds: int | None
    bookmarks: bool
    send_initial_events: bool | None


def list_options(query: Mapping[str, str], *, watch: bool) -> ListOptions:
    """Raises Invalid as upstream's ValidateListOptions."""
    options = ListOptions(
        query.get("labelSelector", ""),
        query.get("fieldSelector", ""),
        max(integer(query, "limit") or 0, 0),
        query.get("continue", ""),
        query.get("resourceVersion", ""),
        query.get("resourceVersionMatch", ""),
        integer(query, "timeoutSeconds"),
        bool(boolean(query, "allowWatchBookmarks")),
        boolean(query, "sendInitialEvents"),
    )
    if options.match or options.send_initial_events is not None:
        errors = _watch_errors(options) if watch else _list_errors(options)
        if errors:
            raise invalid_options("ListOptions", errors)
    return options


def _forbidden(field: str, detail: str) -> FieldError:
    return FieldError("FieldValueForbidden", field, detail)


def _list_errors(options: ListOptions) -> list[FieldError]:
    errors = []
    name = "resourceVersionMatch"
    if options.match:
        if not options.resource_version:
            errors.append(_forbidden(name, f"{name} is forbidden unless resourceVersion is provided"))
        if options.continue_:
            errors.append(_forbidden(name, f"{name} is forbidden when continue is provided"))
        if options.match not in _MATCHES:
            errors.append(FieldError("FieldValueNotSupported", name, supported(_MATCHES), options.match))
        if options.match == "Exact" and options.resource_version == "0":
            errors.append(_forbidden(name, f'{name} "exact" is forbidden for resourceVersion "0"'))
    if options.send_initial_events is not None:
        errors.append(_forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return errors


def _watch_errors(options: ListOptions) -> list[FieldError]:
    errors = []
    name = "resourceVersionMatch"
    if options.send_initial_events is None:
        errors.append(_forbidden(name, f"{name} is forbidden for watch unless sendInitialEvents is provided"))
    elif options.match != "NotOlderThan":
        errors.append(_forbidden(name, f"sendInitialEvents requires setting {name} to NotOlderThan"))
    if options.match not in ("", "NotOlderThan"):
        errors.append(FieldError("FieldValueNotSupported", name, supported(("NotOlderThan",)), options.match))
    if options.match and options.continue_:
        errors.append(_forbidden(name, f"{name} is forbidden when continue is provided"))
    return errors


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    dry_run: bool = False
    grace_period_seconds: int | None = None
    propagation: str | None = None
    orphan_dependents: bool | None = None
    uid: str | None = None
    resource_version: str | None = None


def delete_options(request: Request, body: Object | None) -> DeleteOptions:
    """From the body, or without one from the query. Raises Invalid as upstream's ValidateDeleteOptions."""
    values = body if body is not None else _from_query(request.query)
    errors: list[FieldError] = []
    dry_run = _dry_run(values.get("dryRun"), errors)
    propagation, orphan = values.get("propagationPolicy"), values.get("orphanDependents")
    if propagation is not None and orphan is not None:
        detail = "orphanDependents and deletionPropagation cannot be both set"
        errors.append(FieldError("FieldValueInvalid", "propagationPolicy", detail, propagation))
    if propagation is not None and propagation not in _PROPAGATION[:3]:
        detail = supported(_PROPAGATION)
        errors.append(FieldError("FieldValueNotSupported", "propagationPolicy", detail, propagation))
    if errors:
        raise invalid_options("DeleteOptions", errors)
    preconditions = values.get("preconditions") or {}
    return DeleteOptions(
        dry_run,
        values.get("gracePeriodSeconds"),
        propagation,
        orphan,
        preconditions.get("uid"),
        preconditions.get("resourceVersion"),
    )


def _from_query(query: Mapping[str, str]) -> Object:
    found: Object = {
        "gracePeriodSeconds": integer(query, "gracePeriodSeconds"),
        "propagationPolicy": query.get("propagationPolicy"),
        "orphanDependents": boolean(query, "orphanDependents"),
        "dryRun": query.get("dryRun"),
    }
    return found


def dumped(options: DeleteOptions) -> Object:
    """The options object that admission is shown."""
    shown: Object = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
    if options.grace_period_seconds is not None:
        shown["gracePeriodSeconds"] = options.grace_period_seconds
    if options.propagation is not None:
        shown["propagationPolicy"] = options.propagation
    return shown
