"""Services as environment variables, in the manner of Docker's links. Pure. Source: kubelet `envvars/envvars.go`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import name_of

MASTER_SERVICE = ("default", "kubernetes")


def service_variables(services: Iterable[Object]) -> dict[str, str]:
    made: dict[str, str] = {}
    for service in services:
        address = service["spec"].get("clusterIP")
        ports = service["spec"].get("ports") or []
        if address in (None, "", "None") or not ports:
            continue
        name = _variable(name_of(service))
        made[f"{name}_SERVICE_HOST"] = address
        made[f"{name}_SERVICE_PORT"] = str(ports[0]["port"])
        for port in ports:
            if port.get("name"):
                made[f"{name}_SERVICE_PORT_{_variable(port['name'])}"] = str(port["port"])
        made |= _links(name, address, ports)
    return made


def _links(name: str, address: str, ports: list[dict[str, Any]]) -> dict[str, str]:
    made: dict[str, str] = {}
    host = f"[{address}]" if ":" in address else address
    for index, port in enumerate(ports):
        protocol = port.get("protocol") or "TCP"
        number = str(port["port"])
        url = f"{protocol.lower()}://{host}:{number}"
        if index == 0:
            made[f"{name}_PORT"] = url
        prefix = f"{name}_PORT_{number}_{protocol.upper()}"
        made |= {prefix: url, f"{prefix}_PROTO": protocol.lower(), f"{prefix}_PORT": number, f"{prefix}_ADDR": address}
    return made


def _variable(name: str) -> str:
    return name.replace("-", "_").upper()
