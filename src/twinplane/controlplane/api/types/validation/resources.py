"""Resource names and amounts: containers' requests and limits, quotas, capacities."""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.api.types.validation import names
from twinplane.controlplane.api.types.validation.fields import Errors, invalid, required
from twinplane.kubeclient import quantity

STANDARD = frozenset({"cpu", "memory", "ephemeral-storage"})
NOT_NEGATIVE = "must be greater than or equal to 0"


def is_extended(name: str) -> bool:
    """Fully qualified outside kubernetes.io: counted in whole devices, never overcommitted."""
    return "/" in name and "kubernetes.io/" not in name and not name.startswith("requests.")


def is_overcommit_allowed(name: str) -> bool:
    return "hugepages-" not in name and not is_extended(name)


def validate_amount(name: str, text: str, path: str, errors: Errors) -> None:
    value = quantity.parse(text)
    if value < 0:
        errors.append(invalid(path, text, NOT_NEGATIVE))
    elif is_extended(name) and not isinstance(value, int):
        errors.append(invalid(path, text, "must be an integer"))


def validate_name(name: str, path: str, errors: Errors) -> None:
    problems = names.qualified_name(name)
    if problems:
        errors.texts(path, name, problems)
    elif "/" not in name and name not in STANDARD and not name.startswith("hugepages-"):
        errors.append(invalid(path, name, "must be a standard resource type or fully qualified"))
        errors.append(invalid(path, name, "must be a standard resource for containers"))


def validate_requirements(resources: dict[str, Any], path: str, errors: Errors) -> None:
    """Of a container, or of a pod as a whole."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for name, text in limits.items():
        validate_name(name, f"{path}.limits[{name}]", errors)
        validate_amount(name, text, f"{path}.limits[{name}]", errors)
    for name, text in requests.items():
        if name not in limits:
            validate_name(name, f"{path}.requests[{name}]", errors)
        validate_amount(name, text, f"{path}.requests[{name}]", errors)
        _compare(name, text, limits.get(name), path, errors)
    for index, claim in enumerate(resources.get("claims") or ()):
        errors.need(f"{path}.claims[{index}].name", claim.get("name"))


def _compare(name: str, request: str, limit: str | None, path: str, errors: Errors) -> None:
    overcommit = is_overcommit_allowed(name)
    if limit is None:
        if not overcommit:
            errors.append(required(f"{path}.limits", "Limit must be set for non overcommitable resources"))
        return
    wanted, most = quantity.parse(request), quantity.parse(limit)
    if overcommit and wanted > most:
        detail = f"must be less than or equal to {name} limit of {limit}"
        errors.append(invalid(f"{path}.requests", request, detail))
    elif not overcommit and wanted != most:
        errors.append(invalid(f"{path}.requests", request, f"must be equal to {name} limit of {limit}"))
