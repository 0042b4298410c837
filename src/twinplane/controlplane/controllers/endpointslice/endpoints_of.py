"""From a Service and its pods to endpoints: which pods count, at which addresses, on which ports. Pure.

Shared by the EndpointSlice and the Endpoints controllers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from twinplane.controlplane.controllers.pods import is_ready, is_terminal
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import is_deleting, labels_of, name_of, namespace_of, uid_of

ZONE_LABEL = "topology.kubernetes.io/zone"
FAMILIES = ("IPv4", "IPv6")


class Port(NamedTuple):
    """A port as pods of one shape serve it: the Service's name for it, the pod's number."""

    name: str
    port: int
    protocol: str
    app_protocol: str

    def wire(self) -> dict[str, Any]:
        wire: dict[str, Any] = {"name": self.name, "port": self.port, "protocol": self.protocol}
        if self.app_protocol:
            wire["appProtocol"] = self.app_protocol
        return wire


Ports = tuple[Port, ...]


def counts(pod: Object) -> bool:
    """A pod is an endpoint from the moment it has an address until it is finished (terminating ones included)."""
    return not is_terminal(pod) and bool((pod.get("status") or {}).get("podIP"))


def families_of(service: Object) -> list[str]:
    """`IPv4` and/or `IPv6`."""
    families = service["spec"].get("ipFamilies")
    if families:
        return list(families)
    return ["IPv6" if ":" in str(service["spec"].get("clusterIP", "")) else "IPv4"]


def address_of(pod: Object, family: str) -> str | None:
    addresses = [entry["ip"] for entry in pod["status"].get("podIPs") or [{"ip": pod["status"]["podIP"]}]]
    return next((address for address in addresses if (":" in address) == (family == "IPv6")), None)


def ports_of(service: Object, pod: Object) -> Ports:
    """A target port that the pod does not name is left out, as upstream does."""
    found = []
    for port in service["spec"].get("ports") or []:
        number = _target(port, pod)
        if number is not None:
            protocol = port.get("protocol", "TCP")
            found.append(Port(port.get("name", ""), number, protocol, port.get("appProtocol", "")))
    return tuple(found)


def _target(port: dict[str, Any], pod: Object) -> int | None:
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target or int(port["port"])
    protocol = port.get("protocol", "TCP")
    sidecars = [
        container for container in pod["spec"].get("initContainers") or [] if container.get("restartPolicy") == "Always"
    ]
    for container in [*(pod["spec"].get("containers") or []), *sidecars]:
        for entry in container.get("ports") or []:
            if entry.get("name") == target and entry.get("protocol", "TCP") == protocol:
                return int(entry["containerPort"])
    return None


def endpoint_of(service: Object, pod: Object, node: Object | None, address: str) -> dict[str, Any]:
    """One entry of an EndpointSlice."""
    serving = is_ready(pod)
    terminating = is_deleting(pod)
    ready = bool(service["spec"].get("publishNotReadyAddresses")) or (serving and not terminating)
    endpoint: dict[str, Any] = {
        "addresses": [address],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": {"kind": "Pod", "namespace": namespace_of(pod), "name": name_of(pod), "uid": uid_of(pod)},
    }
    if pod["spec"].get("nodeName"):
        endpoint["nodeName"] = pod["spec"]["nodeName"]
    zone = labels_of(node).get(ZONE_LABEL) if node is not None else None
    if zone:
        endpoint["zone"] = zone
    hostname = pod["spec"].get("hostname")
    if hostname and pod["spec"].get("subdomain") == name_of(service):
        endpoint["hostname"] = hostname
    return endpoint


def sort_key(endpoint: dict[str, Any]) -> tuple[str, ...]:
    return tuple(endpoint["addresses"])
