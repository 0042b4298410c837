"""The configuration of one container, out of everything that was gathered for it. Pure..

Source: kubelet `generateContainerConfig`. `container_hash` is kept in an annotation: a container whose definition has
another hash is restarted, also by an agent that did not start it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cri_api.v1 import api_pb2 as cri

from twinplane.dataplane.kubelet.containers.expansion import expand
from twinplane.dataplane.kubelet.containers.sandbox import pod_labels
from twinplane.dataplane.kubelet.contract import ContainerMount
from twinplane.dataplane.kubelet.pods import state as keys
from twinplane.dataplane.kubelet.pods.spec import Container, grace_seconds
from twinplane.kubeclient.contract import Object

DEFAULT_MESSAGE_PATH = "/dev/termination-log"
PROPAGATION = {
    "None": cri.PROPAGATION_PRIVATE,
    "HostToContainer": cri.PROPAGATION_HOST_TO_CONTAINER,
    "Bidirectional": cri.PROPAGATION_BIDIRECTIONAL,
}


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What was made ready for one start of a container."""

    image: cri.Image
    restarts: int
    environment: Mapping[str, str]
    mounts: Sequence[ContainerMount]
    devices: Sequence[cri.Device]
    resources: cri.LinuxContainerResources
    security: cri.LinuxContainerSecurityContext


def container_hash(container: Container) -> str:
    """Changes with what cannot be changed in a container that runs: its image."""
    picked = json.dumps({"name": container["name"], "image": container.get("image", "")}, sort_keys=True)
    return f"{zlib.crc32(picked.encode()):x}"


def container_config(pod: Object, container: Container, parts: Ingredients) -> cri.ContainerConfig:
    name = container["name"]
    environment = parts.environment
    made = cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name=name, attempt=parts.restarts),
        image=cri.ImageSpec(image=parts.image.id, user_specified_image=container.get("image") or ""),
        command=[expand(word, environment) for word in container.get("command") or ()],
        args=[expand(word, environment) for word in container.get("args") or ()],
        working_dir=container.get("workingDir") or "",
        labels={**pod_labels(pod), keys.NAME_LABEL: name},
        annotations=_annotations(pod, container, parts.restarts),
        envs=[cri.KeyValue(key=key, value=value) for key, value in environment.items()],
        mounts=[_mount(mount) for mount in parts.mounts],
        devices=parts.devices,
        log_path=f"{name}/{parts.restarts}.log",
        stdin=bool(container.get("stdin")),
        stdin_once=bool(container.get("stdinOnce")),
        tty=bool(container.get("tty")),
        linux=cri.LinuxContainerConfig(resources=parts.resources, security_context=parts.security),
    )
    signal = (container.get("lifecycle") or {}).get("stopSignal")
    if signal:
        made.stop_signal = cri.Signal.Value(signal)
    return made


def _annotations(pod: Object, container: Container, restarts: int) -> dict[str, str]:
    made = {
        keys.HASH: container_hash(container),
        keys.RESTARTS: str(restarts),
        keys.MESSAGE_PATH: container.get("terminationMessagePath") or DEFAULT_MESSAGE_PATH,
        keys.MESSAGE_POLICY: container.get("terminationMessagePolicy") or "File",
        keys.GRACE: str(grace_seconds(pod)),
    }
    hook = (container.get("lifecycle") or {}).get("preStop")
    if hook:
        made[keys.PRE_STOP] = json.dumps(hook)
    return made


def _mount(mount: ContainerMount) -> cri.Mount:
    return cri.Mount(
        container_path=mount.container_path,
        host_path=mount.host_path,
        readonly=mount.read_only,
        recursive_read_only=mount.recursive_read_only,
        propagation=PROPAGATION[mount.propagation],
    )
