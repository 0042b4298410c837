"""What an instance's user data tells its kubelet: the NodeConfig that nodeadm would read.

EKS managed node groups pass a MIME multi-part document whose part of type `application/node.eks.aws` is a NodeConfig;
a bare NodeConfig is accepted as well, and several are merged, later ones over earlier ones. Source: nodeadm's API
reference (node.eks.aws/v1alpha1).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from email import message_from_string
from typing import Any

import yaml

MEDIA_TYPE = "application/node.eks.aws"


@dataclass(frozen=True, slots=True)
class NodeSettings:
    max_pods: int | None = None
    labels: dict[str, str] = field(default_factory=dict)
    taints: tuple[dict[str, str], ...] = ()


def node_settings(user_data: str) -> NodeSettings:
    """Documents that cannot be read are skipped, as nodeadm skips parts that are not its own."""
    max_pods: int | None = None
    flags: list[str] = []
    for document in node_configs(user_data):
        kubelet = (document.get("spec") or {}).get("kubelet") or {}
        configured = (kubelet.get("config") or {}).get("maxPods")
        max_pods = int(configured) if configured is not None else max_pods
        flags += [str(flag) for flag in kubelet.get("flags") or ()]
    values = _flag_values(flags)
    if "max-pods" in values:
        max_pods = int(values["max-pods"])
    return NodeSettings(max_pods, _labels(values.get("node-labels", "")), _taints(values))


def node_configs(user_data: str) -> list[dict[str, Any]]:
    """The NodeConfig documents, in order."""
    if user_data.lstrip().startswith(("MIME-Version", "Content-Type")):
        message = message_from_string(user_data.lstrip())
        parts = [part for part in message.walk() if part.get_content_type() == MEDIA_TYPE]
        texts = [_text(part.get_payload(decode=True)) for part in parts]
    else:
        texts = [user_data] if "node.eks.aws" in user_data else []
    found: list[dict[str, Any]] = []
    for text in texts:
        try:
            loaded = list(yaml.safe_load_all(text))
        except yaml.YAMLError:
            continue
        found += [item for item in loaded if isinstance(item, dict) and item.get("kind") == "NodeConfig"]
    return found


def _text(payload: object) -> str:
    return payload.decode(errors="replace") if isinstance(payload, bytes) else str(payload or "")


def _flag_values(flags: list[str]) -> dict[str, str]:
    values = {}
    for flag in flags:
        name, _, value = flag.lstrip("-").partition("=")
        values[name] = value.strip('"')
    return values


def _labels(text: str) -> dict[str, str]:
    pairs = (item.partition("=") for item in text.split(",") if item)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _taints(values: dict[str, str]) -> tuple[dict[str, str], ...]:
    """`--register-with-taints=key=value:Effect,...`"""
    taints = []
    for item in filter(None, values.get("register-with-taints", "").split(",")):
        rest, _, effect = item.rpartition(":")
        key, _, value = rest.partition("=")
        taint = {"key": key.strip(), "effect": effect.strip()}
        taints.append(taint | ({"value": value} if value else {}))
    return tuple(taints)
