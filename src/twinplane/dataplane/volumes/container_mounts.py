"""From a container's volumeMounts to the mounts that the runtime is given; subPath and subPathExpr are made here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twinplane.dataplane.kubelet.contract import ContainerMount, InvalidMount, Mounted
from twinplane.dataplane.volumes import subpaths
from twinplane.dataplane.volumes.subpaths import UnsafePath

_variable = re.compile(r"\$\(([^()]*)\)|\$\$")


def of_container(
    container: Mapping[str, Any], mounted: Mapping[str, Mounted], environment: Mapping[str, str], subpath_root: Path
) -> list[ContainerMount]:
    """`subpath_root` is the pod's `volume-subpaths`. Raises `InvalidMount` with upstream's words."""
    name = container["name"]
    found = []
    for index, mount in enumerate(container.get("volumeMounts") or []):
        volume = mounted.get(mount["name"])
        if volume is None or volume.block:
            raise InvalidMount(f'cannot find volume "{mount["name"]}" to mount into container "{name}"')
        path = _sub_path(mount, environment)
        host = volume.path
        if path:
            host = subpath_root / mount["name"] / name / str(index)
            _prepare(volume.path, path, host, mount["name"], name)
        read_only = bool(mount.get("readOnly")) or volume.read_only
        recursive = mount.get("recursiveReadOnly") in ("Enabled", "IfPossible")
        found.append(
            ContainerMount(
                str(host),
                _absolute(mount["mountPath"]),
                read_only,
                read_only and recursive,
                mount.get("mountPropagation") or "None",
            )
        )
    return found


def _absolute(path: str) -> str:
    return path if path.startswith("/") else f"/{path}"


def _sub_path(mount: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    expression = mount.get("subPathExpr")
    path = _expanded(expression, environment) if expression else str(mount.get("subPath") or "")
    if path.startswith("/"):
        raise InvalidMount(f"error SubPath `{path}` must not be an absolute path")
    if ".." in path.split("/"):
        raise InvalidMount(f"unable to provision SubPath `{path}`: must not contain '..'")
    return path


def _expanded(expression: str, environment: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return "$"
        if name not in environment:
            raise InvalidMount(f'missing value for "{name}"')
        return environment[name]

    return _variable.sub(value, expression)


def _prepare(volume: Path, path: str, target: Path, volume_name: str, container: str) -> None:
    subject = f'subPath for volumeMount "{volume_name}" of container "{container}"'
    try:
        subpaths.prepare(volume, path, target)
    except UnsafePath as error:
        raise InvalidMount(f"failed to prepare {subject}: subpath {path} not within volume path {volume}") from error
    except OSError as error:
        raise InvalidMount(f"failed to prepare {subject}: {error}") from error
