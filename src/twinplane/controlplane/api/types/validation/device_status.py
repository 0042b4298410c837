"""What schedulers and drivers write into the status of a ResourceClaim.

Upstream: kubernetes/pkg/apis/resource/validation. Schedulers, controllers and kubelets may rely on it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from twinplane.controlplane.api.types.validation import names
from twinplane.controlplane.api.types.validation.device_claims import (
    CONFIG_MAX,
    RequestNames,
    Spec,
    configuration,
    raw_object,
    reference,
    references,
    request_names,
)
from twinplane.controlplane.api.types.validation.device_slices import (
    at_most,
    binding_conditions,
    distinct,
    driver_name,
    label,
    pool_name,
)
from twinplane.controlplane.api.types.validation.fields import (
    Errors,
    duplicate,
    forbidden,
    invalid,
    too_long,
    unsupported,
)
from twinplane.controlplane.api.types.validation.selectors import whole_node_selector
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.device_claims import results_of

RESULTS_MAX, CONSUMERS_MAX, CONDITIONS_MAX, ADDRESSES_MAX = 32, 256, 8, 16
REASON_MAX, MESSAGE_MAX = 1024, 32 * 1024
_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
_BARE_UID = re.compile(r"[0-9a-f]{32}").fullmatch
_REASON = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?").fullmatch
_REASON_TEXT = (
    "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric "
    "characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or "
    "'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is "
    "'[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')"
)


def claim_status(body: Object, old: Object, errors: Errors) -> None:
    """Of an update of `status`."""
    status, before = body.get("status") or {}, old.get("status") or {}
    reserved, allocation = status.get("reservedFor") or [], status.get("allocation")
    if at_most(reserved, CONSUMERS_MAX, "status.reservedFor", errors):
        for index, entry in enumerate(reserved):
            for field in ("resource", "name", "uid"):
                errors.need(f"status.reservedFor[{index}].{field}", entry.get(field))
        distinct([entry.get("uid") or "" for entry in reserved], "status.reservedFor", errors)
    if reserved and allocation is None:
        errors.append(forbidden("status.reservedFor", "may not be specified when `allocated` is not set"))
    elif "deletionTimestamp" in body["metadata"] and any(
        entry not in (before.get("reservedFor") or ()) for entry in reserved
    ):
        detail = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
        errors.append(forbidden("status.reservedFor", detail))
    if allocation is not None and before.get("allocation") is not None:
        errors.unchanged("status.allocation", allocation, before["allocation"])
    elif allocation is not None:
        _allocation(allocation, request_names((body.get("spec") or {}).get("devices") or {}), errors)
    _described(status.get("devices") or (), {_identity(result) for result in results_of(body)}, errors)


def _allocation(allocation: Spec, known: RequestNames, errors: Errors) -> None:
    devices, path = allocation.get("devices") or {}, "status.allocation.devices"
    results = devices.get("results") or ()
    if at_most(results, RESULTS_MAX, f"{path}.results", errors):
        for index, result in enumerate(results):
            at = f"{path}.results[{index}]"
            reference(result.get("request") or "", f"{at}.request", known, errors)
            _identified(result, at, errors)
            binding_conditions(result, at, errors)
    if allocation.get("nodeSelector") is not None:
        whole_node_selector(allocation["nodeSelector"], "status.allocation.nodeSelector", errors)
    config = devices.get("config") or ()
    if at_most(config, 2 * CONFIG_MAX, f"{path}.config", errors):
        for index, entry in enumerate(config):
            at = f"{path}.config[{index}]"
            source = entry.get("source")
            if errors.need(f"{at}.source", source) and source not in ("FromClaim", "FromClass"):
                errors.append(unsupported(f"{at}.source", source, ("FromClaim", "FromClass")))
            references(entry.get("requests") or (), f"{at}.requests", known, errors)
            configuration(entry, at, errors)


def _identified(entry: Spec, path: str, errors: Errors) -> None:
    driver_name(entry.get("driver") or "", f"{path}.driver", errors)
    pool_name(entry.get("pool") or "", f"{path}.pool", errors)
    label(entry.get("device") or "", f"{path}.device", errors)
    share = entry.get("shareID")
    if share is not None and not _UID(share):
        errors.append(invalid(f"{path}.shareID", share, _unlike_a_uid(share)))


def _unlike_a_uid(text: str) -> str:
    """The first two are the words of github.com/google/uuid, which also takes what is written in other ways."""
    bare = text.removeprefix("urn:uuid:").removeprefix("{").removesuffix("}")
    if len(text) not in (32, 36, 36 + len("urn:uuid:"), 36 + len("{}")):
        return f"error validating uid: invalid UUID length: {len(text)}"
    if not _UID(bare.lower()) and not _BARE_UID(bare.lower()):
        return "error validating uid: invalid UUID format"
    return (
        "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase "
        "hexadecimal characters"
    )


def _described(devices: Any, allocated: Collection[str], errors: Errors) -> None:
    """What drivers say of devices."""
    for index, entry in enumerate(devices):
        path = f"status.devices[{index}]"
        _identified(entry, path, errors)
        if _identity(entry) not in allocated:
            errors.append(invalid(path, _identity(entry), "must be an allocated device in the claim"))
        found = entry.get("conditions") or ()
        at_most(found, CONDITIONS_MAX, f"{path}.conditions", errors)
        conditions(found, f"{path}.conditions", errors)
        if entry.get("data") is not None:
            raw_object(entry["data"], f"{path}.data", errors)
        _network_data(entry.get("networkData") or {}, f"{path}.networkData", errors)
    distinct([_identity(entry) for entry in devices], "status.devices", errors)


def _network_data(data: Spec, path: str, errors: Errors) -> None:
    for field, limit in (("interfaceName", 256), ("hardwareAddress", 128)):
        if len((data.get(field) or "").encode()) > limit:
            errors.append(too_long(f"{path}.{field}", limit))
    addresses = data.get("ips") or ()
    if at_most(addresses, ADDRESSES_MAX, f"{path}.ips", errors):
        for index, address in enumerate(addresses):
            problem = names.interface_address(address)
            errors.texts(f"{path}.ips[{index}]", address, problem)
        distinct(addresses, f"{path}.ips", errors)


def conditions(found: Any, path: str, errors: Errors) -> None:
    """Of a status, as upstream's metav1.Condition is to be."""
    types: set[str] = set()
    for index, condition in enumerate(found):
        at, kind, reason = f"{path}[{index}]", condition.get("type") or "", condition.get("reason") or ""
        if kind in types:
            errors.append(duplicate(f"{at}.type", kind))
        types.add(kind)
        errors.texts(f"{at}.type", kind, names.qualified_name(kind))
        if condition.get("status") not in ("True", "False", "Unknown"):
            errors.append(unsupported(f"{at}.status", condition.get("status") or "", ("True", "False", "Unknown")))
        if (generation := condition.get("observedGeneration") or 0) < 0:
            errors.append(invalid(f"{at}.observedGeneration", generation, "must be greater than or equal to zero"))
        errors.need(f"{at}.lastTransitionTime", condition.get("lastTransitionTime"))
        if errors.need(f"{at}.reason", reason):
            if not _REASON(reason):
                errors.append(invalid(f"{at}.reason", reason, _REASON_TEXT))
            if len(reason.encode()) > REASON_MAX:
                errors.append(too_long(f"{at}.reason", REASON_MAX))
        if len((condition.get("message") or "").encode()) > MESSAGE_MAX:
            errors.append(too_long(f"{at}.message", MESSAGE_MAX))


def _identity(entry: Mapping[str, Any]) -> str:
    return "/".join(entry[field] for field in ("driver", "pool", "device", "shareID") if entry.get(field))
