"""The environment of a container: services, envFrom and env, with everything that they refer to.

Source: kubelet `makeEnvironmentVariables`. Objects come through `ReferencedObjects`; a key that is missing and not
optional keeps the container waiting with CreateContainerConfigError.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twinplane.dataplane.kubelet.containers.downward import field_value, resource_value
from twinplane.dataplane.kubelet.containers.errors import config_error
from twinplane.dataplane.kubelet.containers.expansion import expand
from twinplane.dataplane.kubelet.containers.service_links import service_variables
from twinplane.dataplane.kubelet.contract import ReferencedObjects
from twinplane.dataplane.kubelet.pods.spec import Container
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import namespace_of


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What values may be taken from, beside objects."""

    pod_ips: Sequence[str]
    host_ips: Sequence[str]
    allocatable: Mapping[str, Any]
    services: Iterable[Object] = ()
    """Those that the pod is told of: of its namespace when it wants links, and `default/kubernetes`."""


async def environment(
    pod: Object, container: Container, around: Surroundings, objects: ReferencedObjects
) -> dict[str, str]:
    """Raises `ContainerRefused`."""
    services = service_variables(around.services)
    made: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        prefix = source.get("prefix") or ""
        for resource, field in (("configmaps", "configMapRef"), ("secrets", "secretRef")):
            if source.get(field):
                found = await _data(pod, resource, source[field], objects)
                made |= {prefix + key: value for key, value in (found or {}).items() if key and "=" not in key}
    for entry in container.get("env") or ():
        if entry.get("valueFrom"):
            value = await _value_from(pod, container, entry["valueFrom"], around, objects)
            if value is None:
                continue
        else:
            value = expand(entry.get("value") or "", services | made)
        made[entry["name"]] = value
    return made | {name: value for name, value in services.items() if name not in made}


async def _value_from(
    pod: Object, container: Container, source: dict[str, Any], around: Surroundings, objects: ReferencedObjects
) -> str | None:
    """None for an optional one that is not there."""
    if source.get("fieldRef"):
        return field_value(pod, source["fieldRef"]["fieldPath"], around.pod_ips, around.host_ips)
    if source.get("resourceFieldRef"):
        reference = source["resourceFieldRef"]
        of = container
        if reference.get("containerName"):
            spec = pod["spec"]
            every = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
            of = next((item for item in every if item["name"] == reference["containerName"]), container)
        return resource_value(of, reference["resource"], str(reference.get("divisor") or "0"), around.allocatable)
    for resource, field, kind in (
        ("configmaps", "configMapKeyRef", "ConfigMap"),
        ("secrets", "secretKeyRef", "Secret"),
    ):
        reference = source.get(field)
        if reference:
            found = await _data(pod, resource, reference, objects)
            key = reference["key"]
            if found is not None and key in found:
                return found[key]
            if reference.get("optional"):
                return None
            raise config_error(f"couldn't find key {key} in {kind} {namespace_of(pod)}/{reference.get('name', '')}")
    raise config_error("invalid value source of an environment variable")


async def _data(
    pod: Object, resource: str, reference: dict[str, Any], objects: ReferencedObjects
) -> dict[str, str] | None:
    """The keys of a ConfigMap or Secret; None for an optional one that is not there."""
    name = reference.get("name") or ""
    try:
        found = await objects.get(resource, namespace_of(pod), name)
    except OSError as error:
        raise config_error(f"failed to sync {resource[:-1]} cache: {error}") from error
    if found is None:
        if reference.get("optional"):
            return None
        raise config_error(f'{resource[:-1]} "{name}" not found')
    data = found.get("data") or {}
    if resource == "secrets":
        return {key: base64.b64decode(value or "").decode(errors="replace") for key, value in data.items()}
    return dict(data)
