"""What a pod can be told of itself: fields of its metadata, and the resources of its containers. Pure.

The formats are upstream's: labels and annotations as sorted `key="value"` lines, resources as environment variables
show them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from twinplane.dataplane.kubelet.containers.downward import resource_value as value
from twinplane.dataplane.kubelet.containers.errors import ContainerRefused
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import annotations_of, labels_of, name_of, namespace_of, uid_of

_subscript = re.compile(r"metadata\.(labels|annotations)\['([^']*)'\]").fullmatch


class DownwardError(Exception):
    """The field or resource cannot be told."""


def field_value(pod: Object, path: str) -> str:
    """Of the fields that volumes may show. Raises `DownwardError`."""
    subscript = _subscript(path)
    if subscript:
        entries = labels_of(pod) if subscript[1] == "labels" else annotations_of(pod)
        return entries.get(subscript[2], "")
    match path:
        case "metadata.name":
            return name_of(pod)
        case "metadata.namespace":
            return namespace_of(pod)
        case "metadata.uid":
            return uid_of(pod)
        case "metadata.labels":
            return _lines(labels_of(pod))
        case "metadata.annotations":
            return _lines(annotations_of(pod))
    raise DownwardError(f"unsupported fieldPath: {path}")


def _lines(entries: Mapping[str, str]) -> str:
    return "\n".join(f"{key}={json.dumps(entries[key], ensure_ascii=False)}" for key in sorted(entries))


def resource_value(pod: Object, reference: Mapping[str, Any], allocatable: Mapping[str, str]) -> str:
    """`reference` is a resourceFieldRef. Raises `DownwardError`."""
    name = reference.get("containerName")
    kinds = ("containers", "initContainers")
    found = [entry for kind in kinds for entry in pod["spec"].get(kind) or [] if entry["name"] == name]
    if not found:
        raise DownwardError(f"container {name} not found")
    try:
        return value(found[0], str(reference["resource"]), str(reference.get("divisor") or ""), allocatable)
    except ContainerRefused as error:
        raise DownwardError(error.message) from error
