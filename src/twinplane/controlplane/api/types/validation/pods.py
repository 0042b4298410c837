"""A PodSpec, in a Pod or in any template. Upstream: kubernetes/pkg/apis/core/validation `ValidatePodSpec`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from twinplane.controlplane.api.types.validation import names
from twinplane.controlplane.api.types.validation.containers import (
    PROBES,
    validate_container,
    validate_host_ports,
    validate_ports,
    validate_probes,
)
from twinplane.controlplane.api.types.validation.context import Context, Visitor
from twinplane.controlplane.api.types.validation.fields import Errors, duplicate, forbidden, invalid, required
from twinplane.controlplane.api.types.validation.metadata import validate_labels, validate_template
from twinplane.controlplane.api.types.validation.resources import validate_requirements

Spec = dict[str, Any]
SYSTEM_PRIORITY = 1_000_000_000
SYSCTL_LENGTH_MAX = 253
_SYSCTL_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL = re.compile(rf"({_SYSCTL_SEGMENT}[\./])*{_SYSCTL_SEGMENT}")
_REFERENCES = (("serviceAccountName", names.dns_subdomain), ("nodeName", names.dns_subdomain))
_HOST_LABELS = ("hostname", "subdomain")


def pod_spec(spec: Spec, path: str, context: Context) -> None:
    errors = context.errors
    volumes = _volume_names(spec, path, errors) | context.claimed_volumes
    if not spec.get("containers"):
        errors.append(required(f"{path}.containers"))
    host_network = bool(spec.get("hostNetwork"))
    seen: set[str] = set()
    for at, container in all_containers(spec, path):
        validate_container(container, at, volumes, errors)
        name = container.get("name")
        if name and name in seen:
            errors.append(duplicate(f"{at}.name", name))
        seen.add(name or "")
        if container.get("ports"):
            validate_ports(container["ports"], f"{at}.ports", host_network, errors)
        _validate_lifecycle(container, at, errors)
    validate_host_ports(all_containers(spec, path, ("containers",)), errors)
    _validate_ephemeral(spec, path, context)
    _validate_names(spec, path, errors)
    _validate_rest(spec, path, errors)


def all_containers(
    spec: Spec, path: str, lists: tuple[str, ...] = ("containers", "initContainers", "ephemeralContainers")
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(path, container) of each."""
    for field in lists:
        for index, container in enumerate(spec.get(field) or ()):
            yield f"{path}.{field}[{index}]", container


def _volume_names(spec: Spec, path: str, errors: Errors) -> frozenset[str]:
    found: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or ()):
        name = volume.get("name", "")
        if not name:
            continue
        at = f"{path}.volumes[{index}].name"
        errors.texts(at, name, names.dns_label(name))
        if name in found:
            errors.append(duplicate(at, name))
        found.add(name)
    return frozenset(found)


def _validate_lifecycle(container: dict[str, Any], path: str, errors: Errors) -> None:
    """Probes and hooks belong to containers that keep running: not to plain init or ephemeral containers."""
    if not container.keys() & {*PROBES, "lifecycle"}:
        return
    if ".ephemeralContainers[" in path:
        for field in (*PROBES, "lifecycle"):
            if field in container:
                errors.append(forbidden(f"{path}.{field}", "cannot be set for an Ephemeral Container"))
    elif ".initContainers[" in path and container.get("restartPolicy") != "Always":
        for field in (*PROBES, "lifecycle"):
            if field in container:
                detail = "may not be set for init containers without restartPolicy=Always"
                errors.append(forbidden(f"{path}.{field}", detail))
    else:
        validate_probes(container, path, errors)


def _validate_ephemeral(spec: Spec, path: str, context: Context) -> None:
    if not spec.get("ephemeralContainers"):
        return
    if context.type.resource.kind != "Pod":
        context.errors.append(
            forbidden(f"{path}.ephemeralContainers", "ephemeral containers not allowed in pod template")
        )
    elif context.old is None:
        context.errors.append(forbidden(f"{path}.ephemeralContainers", "cannot be set on create"))


def _validate_names(spec: Spec, path: str, errors: Errors) -> None:
    for field, rule in _REFERENCES:
        if spec.get(field):
            errors.texts(f"{path}.{field}", spec[field], rule(spec[field]))
    for field in _HOST_LABELS:
        if spec.get(field):
            errors.texts(f"{path}.{field}", spec[field], names.dns_label(spec[field]))
    if spec.get("nodeSelector"):
        validate_labels(spec["nodeSelector"], f"{path}.nodeSelector", errors)
    if spec.get("priorityClassName"):
        text = spec["priorityClassName"]
        errors.texts(f"{path}.priorityClassName", text, names.dns_subdomain(text))
    gates: set[str] = set()
    for index, gate in enumerate(spec.get("schedulingGates") or ()):
        name, at = gate.get("name", ""), f"{path}.schedulingGates[{index}]"
        errors.texts(at, name, names.qualified_name(name))
        if name in gates:
            errors.append(duplicate(at, name))
        gates.add(name)
    for index, gate in enumerate(spec.get("readinessGates") or ()):
        condition = gate.get("conditionType", "")
        errors.texts(f"{path}.readinessGates[{index}].conditionType", condition, names.qualified_name(condition))
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        if alias.get("ip"):
            errors.texts(f"{path}.hostAliases[{index}].ip", alias["ip"], names.ip_address(alias["ip"]))


def _validate_rest(spec: Spec, path: str, errors: Errors) -> None:
    security = spec.get("securityContext") or {}
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        detail = "ShareProcessNamespace and HostPID cannot both be enabled"
        errors.append(invalid(f"{path}.securityContext.shareProcessNamespace", True, detail))
    for field in ("runAsUser", "runAsGroup", "fsGroup"):
        if security.get(field, 0) < 0:
            detail = "must be between 0 and 2147483647, inclusive"
            errors.append(invalid(f"{path}.securityContext.{field}", security[field], detail))
    _validate_sysctls(security.get("sysctls") or (), f"{path}.securityContext.sysctls", errors)
    if spec.get("dnsPolicy") == "None" and not (spec.get("dnsConfig") or {}).get("nameservers"):
        detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        errors.append(required(f"{path}.dnsConfig.nameservers", detail))
    if spec.get("resources"):
        validate_requirements(spec["resources"], f"{path}.resources", errors)
    for index, secret in enumerate(spec.get("imagePullSecrets") or ()):
        errors.need(f"{path}.imagePullSecrets[{index}].name", secret.get("name"))


def _validate_sysctls(sysctls: Sequence[dict[str, Any]], path: str, errors: Errors) -> None:
    seen: set[str] = set()
    for index, entry in enumerate(sysctls):
        at, name = f"{path}[{index}].name", _with_dots(entry.get("name") or "")
        if not name:
            errors.append(required(at))
        elif len(name) > SYSCTL_LENGTH_MAX or not _SYSCTL.fullmatch(name):
            detail = f"must have at most {SYSCTL_LENGTH_MAX} characters and match regex ^{_SYSCTL.pattern}$"
            errors.append(invalid(at, name, detail))
        elif name in seen:
            errors.append(duplicate(at, name))
        seen.add(name)


def _with_dots(name: str) -> str:
    """`net/ipv4/conf/eth0.1/x` is `net.ipv4.conf.eth0/1.x`: the first separator says which of the two is used."""
    first = next((letter for letter in name if letter in "./"), ".")
    return name if first == "." else name.translate(str.maketrans("./", "/."))


def security_context(value: dict[str, Any], path: str, context: Context) -> None:
    errors = context.errors
    for field in ("runAsUser", "runAsGroup"):
        if value.get(field, 0) < 0:
            errors.append(invalid(f"{path}.{field}", value[field], "must be between 0 and 2147483647, inclusive"))
    if value.get("allowPrivilegeEscalation") is False:
        if value.get("privileged"):
            detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            errors.append(invalid(path, value, detail))
        if "CAP_SYS_ADMIN" in ((value.get("capabilities") or {}).get("add") or ()):
            detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            errors.append(invalid(path, value, detail))


def pod_template(template: dict[str, Any], path: str, context: Context) -> None:
    if template.get("metadata"):
        validate_template(template["metadata"], f"{path}.metadata", context.errors)


VALIDATORS: dict[str, Visitor] = {
    "core.v1.PodSpec": pod_spec,
    "core.v1.PodTemplateSpec": pod_template,
    "core.v1.SecurityContext": security_context,
}
