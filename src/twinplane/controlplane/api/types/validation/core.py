"""Config maps, secrets, endpoints, limits, quotas, events, leases."""

from __future__ import annotations

import binascii
from typing import Any

import orjson

from twinplane.controlplane.api.types.validation import names
from twinplane.controlplane.api.types.validation.context import Context, Visitor
from twinplane.controlplane.api.types.validation.fields import forbidden, invalid, required, too_long, unsupported
from twinplane.controlplane.api.types.validation.resources import validate_amount
from twinplane.kubeclient import quantity
from twinplane.kubeclient.contract import Object

DATA_LIMIT = 1024 * 1024
_SECRET_KEYS = {
    "kubernetes.io/dockercfg": ".dockercfg",
    "kubernetes.io/dockerconfigjson": ".dockerconfigjson",
    "kubernetes.io/ssh-auth": "ssh-privatekey",
}
_LEASE_STRATEGIES = ("OldestEmulationVersion",)
_TLS_KEYS = ("tls.crt", "tls.key")
_SERVICE_ACCOUNT = "kubernetes.io/service-account.name"


def config_map(body: Object, path: str, context: Context) -> None:
    errors = context.errors
    texts, binaries = body.get("data") or {}, body.get("binaryData") or {}
    size = 0
    for key, value in texts.items():
        errors.texts(f"data[{key}]", key, names.config_key(key))
        if key in binaries:
            errors.append(invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
        size += len(value) if value.isascii() else len(value.encode())
    for key, value in binaries.items():
        errors.texts(f"binaryData[{key}]", key, names.config_key(key))
        size += decoded_size(value)
    if size > DATA_LIMIT:
        errors.append(too_long("", DATA_LIMIT))


def secret(body: Object, path: str, context: Context) -> None:
    errors, data, kind = context.errors, body.get("data") or {}, body.get("type", "")
    for key in data:
        errors.texts(f"data[{key}]", key, names.config_key(key))
    if sum(decoded_size(value) for value in data.values()) > DATA_LIMIT:
        errors.append(too_long("data", DATA_LIMIT))
    if kind == "kubernetes.io/service-account-token":
        annotations = (body.get("metadata") or {}).get("annotations") or {}
        if not annotations.get(_SERVICE_ACCOUNT):
            errors.append(required(f"metadata.annotations[{_SERVICE_ACCOUNT}]"))
    elif kind in _SECRET_KEYS:
        key = _SECRET_KEYS[kind]
        if key not in data:
            errors.append(required(f"data[{key}]"))
        elif key.startswith(".docker") and not _is_json(data[key]):
            errors.append(
                invalid(f"data[{key}]", "<secret contents redacted>", "invalid character at the beginning of value")
            )
    elif kind == "kubernetes.io/basic-auth":
        if "username" not in data and "password" not in data:
            errors.append(required("data[username]"))
            errors.append(required("data[password]"))
    elif kind == "kubernetes.io/tls":
        for key in _TLS_KEYS:
            if key not in data:
                errors.append(required(f"data[{key}]"))


def decoded_size(value: str) -> int:
    return len(value) * 3 // 4 - value[-2:].count("=")


def _is_json(value: str) -> bool:
    try:
        orjson.loads(binascii.a2b_base64(value))
    except (orjson.JSONDecodeError, binascii.Error):
        return False
    return True


def endpoints(body: Object, path: str, context: Context) -> None:
    errors = context.errors
    for index, subset in enumerate(body.get("subsets") or ()):
        at = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            errors.append(required(at, "must specify `addresses` or `notReadyAddresses`"))
        for field in ("addresses", "notReadyAddresses"):
            for position, address in enumerate(subset.get(field) or ()):
                if address.get("ip"):
                    errors.texts(f"{at}.{field}[{position}].ip", address["ip"], names.ip_address(address["ip"]))
        ports = subset.get("ports") or ()
        for position, port in enumerate(ports):
            if len(ports) > 1 and not port.get("name"):
                errors.append(required(f"{at}.ports[{position}].name"))
            errors.port(f"{at}.ports[{position}].port", port.get("port", 0))


def limit_range_item(item: dict[str, Any], path: str, context: Context) -> None:
    errors = context.errors
    least, most = item.get("min") or {}, item.get("max") or {}
    for field in ("min", "max", "default", "defaultRequest"):
        for name, text in (item.get(field) or {}).items():
            errors.texts(f"{path}.{field}[{name}]", name, names.qualified_name(name))
            validate_amount(name, text, f"{path}.{field}[{name}]", errors)
    for name in least.keys() & most.keys():
        if quantity.parse(least[name]) > quantity.parse(most[name]):
            detail = f"min value {least[name]} is greater than max value {most[name]}"
            errors.append(invalid(f"{path}.min[{name}]", least[name], detail))
    if item.get("type") == "Pod":
        for field in ("default", "defaultRequest"):
            if item.get(field):
                detail = "may not be specified when `type` is 'Pod'"
                errors.append(forbidden(f"{path}.{field}", detail))


def resource_quota_spec(spec: dict[str, Any], path: str, context: Context) -> None:
    errors = context.errors
    for name, text in (spec.get("hard") or {}).items():
        at = f"{path}.hard[{name}]"
        errors.texts(at, name, names.qualified_name(name.removeprefix("count/").replace("/", ".")))
        validate_amount(name, text, at, errors)


def event(body: Object, path: str, context: Context) -> None:
    involved = (body.get("involvedObject") or {}).get("namespace", "")
    namespace = (body.get("metadata") or {}).get("namespace", "")
    if (involved and involved != namespace) or (not involved and namespace not in ("default", "kube-system", "")):
        detail = "does not match event.namespace"
        context.errors.append(invalid("involvedObject.namespace", involved, detail))


def lease_spec(spec: dict[str, Any], path: str, context: Context) -> None:
    errors = context.errors
    seconds = spec.get("leaseDurationSeconds")
    if seconds is not None and seconds <= 0:
        errors.append(invalid(f"{path}.leaseDurationSeconds", seconds, "must be greater than 0"))
    strategy = spec.get("strategy")
    # The path ends twice in `strategy`: so it does upstream.
    if strategy is not None and "/" in strategy:
        errors.texts(f"{path}.strategy.strategy", strategy, names.qualified_name(strategy))
    elif strategy is not None and strategy not in _LEASE_STRATEGIES:
        errors.append(unsupported(f"{path}.strategy.strategy", strategy, _LEASE_STRATEGIES))
    if spec.get("preferredHolder") and not strategy:
        errors.append(forbidden(f"{path}.preferredHolder", "may only be specified if `strategy` is defined"))


VALIDATORS: dict[str, Visitor] = {
    "coordination.v1.LeaseSpec": lease_spec,
    "core.v1.ConfigMap": config_map,
    "core.v1.Endpoints": endpoints,
    "core.v1.Event": event,
    "core.v1.LimitRangeItem": limit_range_item,
    "core.v1.ResourceQuotaSpec": resource_quota_spec,
    "core.v1.Secret": secret,
}
