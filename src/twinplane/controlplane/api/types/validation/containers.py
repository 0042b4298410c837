"""Containers of a pod: names, images, ports, environment, mounts, probes, resources."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twinplane.controlplane.api.types.validation import names
from twinplane.controlplane.api.types.validation.fields import (
    Errors,
    duplicate,
    forbidden,
    invalid,
    not_found,
    required,
    unsupported,
)
from twinplane.controlplane.api.types.validation.resources import validate_requirements

Container = dict[str, Any]
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_HOOK_HANDLERS = ("exec", "httpGet", "tcpSocket", "sleep")
_ENV_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_FIELD_PATHS = frozenset(
    {
        *("metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName"),
        *("status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"),
    }
)


def validate_container(container: Container, path: str, volumes: frozenset[str], errors: Errors) -> None:
    """What holds for every kind of container; `volumes` are the names that the pod has."""
    name = container.get("name")
    if errors.need(f"{path}.name", name):
        errors.texts(f"{path}.name", name, names.dns_label(str(name)))
    errors.need(f"{path}.image", container.get("image"))
    if "env" in container:
        _validate_environment(container["env"], f"{path}.env", errors)
    for index, source in enumerate(container.get("envFrom") or ()):
        _validate_env_source(source, f"{path}.envFrom[{index}]", errors)
    if "volumeMounts" in container:
        _validate_mounts(container["volumeMounts"], f"{path}.volumeMounts", volumes, errors)
    for index, device in enumerate(container.get("volumeDevices") or ()):
        if device.get("name") and device["name"] not in volumes:
            errors.append(not_found(f"{path}.volumeDevices[{index}].name", device["name"]))
    resources = container.get("resources")
    if resources:
        validate_requirements(resources, f"{path}.resources", errors)


def validate_ports(ports: Iterable[dict[str, Any]], path: str, host_network: bool, errors: Errors) -> None:
    seen: set[str] = set()
    for index, port in enumerate(ports):
        at = f"{path}[{index}]"
        name = port.get("name")
        if name:
            problems = names.port_name(name)
            errors.texts(f"{at}.name", name, problems)
            if not problems and name in seen:
                errors.append(duplicate(f"{at}.name", name))
            seen.add(name)
        number, host_port = port.get("containerPort", 0), port.get("hostPort", 0)
        if not number:
            errors.append(required(f"{at}.containerPort"))
        else:
            errors.port(f"{at}.containerPort", number)
        if host_port:
            errors.port(f"{at}.hostPort", host_port)
            if host_network and host_port != number:
                detail = "must match `containerPort` when `hostNetwork` is true"
                errors.append(invalid(f"{at}.hostPort", host_port, detail))


def validate_host_ports(containers: Iterable[tuple[str, Container]], errors: Errors) -> None:
    """A host port may be asked for once in a pod."""
    seen: set[str] = set()
    for path, container in containers:
        for index, port in enumerate(container.get("ports") or ()):
            if port.get("hostPort"):
                key = f"{port.get('protocol', 'TCP')}/{port.get('hostIP', '')}/{port['hostPort']}"
                if key in seen:
                    errors.append(duplicate(f"{path}.ports[{index}].hostPort", key))
                seen.add(key)


def _validate_environment(variables: list[dict[str, Any]], path: str, errors: Errors) -> None:
    for index, variable in enumerate(variables):
        at, name = f"{path}[{index}]", variable.get("name", "")
        if name and (problems := names.environment_name(name)):
            errors.texts(f"{at}.name", name, problems)
        source = variable.get("valueFrom")
        if source is not None:
            _validate_value_source(source, f"{at}.valueFrom", bool(variable.get("value")), errors)


def _validate_value_source(source: dict[str, Any], path: str, has_value: bool, errors: Errors) -> None:
    given = [name for name in _ENV_SOURCES if name in source]
    if not given:
        detail = (
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        )
        errors.append(invalid(path, "", detail))
    elif has_value:
        errors.append(invalid(path, "", "may not be specified when `value` is not empty"))
    elif len(given) > 1:
        errors.append(invalid(path, "", "may not have more than one field specified at a time"))
    field = source.get("fieldRef")
    if field and field.get("fieldPath"):
        field_path = field["fieldPath"]
        head, bracket, _ = field_path.partition("['")
        if bracket:
            if head not in ("metadata.annotations", "metadata.labels"):
                detail = "does not support subscript"
                errors.append(invalid(f"{path}.fieldRef.fieldPath", field_path, detail))
        elif field_path not in _FIELD_PATHS:
            errors.append(unsupported(f"{path}.fieldRef.fieldPath", field_path, _FIELD_PATHS))
    for name in ("configMapKeyRef", "secretKeyRef"):
        if name in source:
            errors.need(f"{path}.{name}.name", source[name].get("name"))
            if source[name].get("key"):
                errors.texts(f"{path}.{name}.key", source[name]["key"], names.config_key(source[name]["key"]))


def _validate_env_source(source: dict[str, Any], path: str, errors: Errors) -> None:
    prefix = source.get("prefix")
    if prefix:
        errors.texts(f"{path}.prefix", prefix, names.environment_name(prefix))
    given = [name for name in ("configMapRef", "secretRef") if name in source]
    for name in given:
        errors.need(f"{path}.{name}.name", source[name].get("name"))
    if not given:
        errors.append(invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
    elif len(given) > 1:
        errors.append(invalid(path, "", "may not have more than one field specified at a time"))


def _validate_mounts(mounts: list[dict[str, Any]], path: str, volumes: frozenset[str], errors: Errors) -> None:
    seen: set[str] = set()
    for index, mount in enumerate(mounts):
        at = f"{path}[{index}]"
        name, target = mount.get("name", ""), mount.get("mountPath", "")
        if name and name not in volumes:
            errors.append(not_found(f"{at}.name", name))
        if target in seen and target:
            errors.append(invalid(f"{at}.mountPath", target, "must be unique"))
        seen.add(target)
        for field in ("subPath", "subPathExpr"):
            if mount.get(field):
                validate_local_path(mount[field], f"{at}.{field}", errors)
        if mount.get("subPath") and mount.get("subPathExpr"):
            errors.append(
                invalid(f"{at}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive")
            )


def validate_local_path(text: str, path: str, errors: Errors) -> None:
    """Relative, and never out of its directory."""
    if text.startswith("/"):
        errors.append(invalid(path, text, "must be a relative path"))
    if ".." in text.split("/"):
        errors.append(invalid(path, text, "must not contain '..'"))


def validate_probes(container: Container, path: str, errors: Errors) -> None:
    for field in PROBES:
        probe = container.get(field)
        if probe is None:
            continue
        validate_handler(probe, f"{path}.{field}", _HANDLERS, errors)
        if field != "readinessProbe" and probe.get("successThreshold", 1) != 1:
            errors.append(invalid(f"{path}.{field}.successThreshold", probe["successThreshold"], "must be 1"))
        if "terminationGracePeriodSeconds" in probe:
            grace, at = probe["terminationGracePeriodSeconds"], f"{path}.{field}.terminationGracePeriodSeconds"
            if field == "readinessProbe":
                errors.append(invalid(at, grace, "must not be set for readinessProbes"))
            elif grace <= 0:
                errors.append(invalid(at, grace, "must be greater than 0"))
    for hook in ("postStart", "preStop"):
        handler = (container.get("lifecycle") or {}).get(hook)
        if handler is not None:
            validate_handler(handler, f"{path}.lifecycle.{hook}", _HOOK_HANDLERS, errors)


def validate_handler(handler: dict[str, Any], path: str, kinds: tuple[str, ...], errors: Errors) -> None:
    given = [kind for kind in kinds if kind in handler]
    if not given:
        errors.append(required(path, "must specify a handler type"))
    for kind in given[1:]:
        errors.append(forbidden(f"{path}.{kind}", "may not specify more than 1 handler type"))
    for kind in given:
        action, at = handler[kind], f"{path}.{kind}"
        if kind == "exec":
            errors.need(f"{at}.command", action.get("command"))
        elif kind in ("httpGet", "tcpSocket"):
            validate_port_reference(action.get("port", 0), f"{at}.port", errors)
        elif kind == "grpc":
            errors.port(f"{at}.port", action.get("port", 0))


def validate_port_reference(value: Any, path: str, errors: Errors) -> None:
    """A number, or the name of a container port."""
    if isinstance(value, str):
        errors.texts(path, value, names.port_name(value))
    else:
        errors.port(path, value)
