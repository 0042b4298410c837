"""Annotations of Ingresses and their Services, `alb.ingress.kubernetes.io/...`. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from twinplane.controlplane.cloudcontroller.aws import Unbuildable
from twinplane.controlplane.cloudcontroller.ingress.groups import PREFIX
from twinplane.controlplane.cloudcontroller.service.settings import items, pairs
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import annotations_of


class Annotations:
    """Of an Ingress, or of a Service in front of the Ingress that names it: the first object that has one decides."""

    def __init__(self, *objects: Object) -> None:
        self._sources: list[Mapping[str, str]] = [annotations_of(found) for found in objects]

    def text(self, name: str, default: str = "") -> str:
        for source in self._sources:
            if PREFIX + name in source:
                return str(source[PREFIX + name]).strip()
        return default

    def items(self, name: str) -> tuple[str, ...]:
        return items(self.text(name))

    def pairs(self, name: str) -> dict[str, str]:
        return pairs(self.text(name))

    def number(self, name: str, default: int) -> int:
        text = self.text(name)
        if text and not text.isdigit():
            raise Unbuildable(f"failed to parse int32 annotation, {PREFIX}{name}: {text}")
        return int(text) if text else default

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        text = self.text(name, default)
        if text not in allowed:
            raise Unbuildable(f"unknown {name}: {text}")
        return text

    def json(self, name: str) -> Any:
        """None when absent."""
        text = self.text(name)
        if not text:
            return None
        try:
            return json.loads(text)
        except ValueError as error:
            raise Unbuildable(f"failed to parse json annotation, {PREFIX}{name}: {text}") from error

    def listen_ports(self) -> dict[int, str]:
        """Port -> HTTP or HTTPS; 80 by default, 443 with a certificate."""
        written = self.json("listen-ports")
        if written is None:
            return {443: "HTTPS"} if self.items("certificate-arn") else {80: "HTTP"}
        ports = {}
        for entry in written if isinstance(written, list) else []:
            for protocol, port in entry.items() if isinstance(entry, dict) else []:
                if protocol not in ("HTTP", "HTTPS") or not isinstance(port, int) or not 1 <= port <= 65535:
                    raise Unbuildable(f"listen protocol must be HTTP or HTTPS: {protocol} {port}")
                ports[port] = str(protocol)
        if not ports:
            raise Unbuildable(f"empty listen-ports: {self.text('listen-ports')}")
        return ports


def api_names(value: Any) -> Any:
    """From the annotations' camelCase (`fixedResponseConfig`) to the names of the ELBv2 API."""
    if isinstance(value, dict):
        return {key[:1].upper() + key[1:]: api_names(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [api_names(entry) for entry in value]
    return value
