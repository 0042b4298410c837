"""The fields of a Service that allocation reads and writes, apart from any allocator: pure functions on specs."""

from __future__ import annotations

from collections.abc import Iterator

from twinplane.controlplane.admission.plugin import entries
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import FieldError

NONE = "None"
EXTERNAL = "ExternalName"
_WITH_NODE_PORTS = ("NodePort", "LoadBalancer")


def key_of(service: Object) -> str:
    metadata = service.get("metadata") or {}
    return f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"


def kind_of(spec: Object) -> str:
    return str(spec.get("type") or "ClusterIP")


def cluster_ips(spec: Object) -> list[str]:
    listed = spec.get("clusterIPs") or [spec.get("clusterIP")]
    return [address for address in listed if address and address != NONE]


def node_ports(spec: Object) -> Iterator[int]:
    for port in entries(spec, "ports"):
        if port.get("nodePort"):
            yield port["nodePort"]
    if spec.get("healthCheckNodePort"):
        yield spec["healthCheckNodePort"]


def is_headless(spec: Object) -> bool:
    return spec.get("clusterIP") == NONE or NONE in (spec.get("clusterIPs") or ())


def wants_address(spec: Object) -> bool:
    return kind_of(spec) != EXTERNAL and not is_headless(spec)


def wants_node_ports(spec: Object) -> bool:
    if kind_of(spec) == "LoadBalancer":
        return spec.get("allocateLoadBalancerNodePorts") is not False or any(node_ports(spec))
    return kind_of(spec) == "NodePort"


def wants_health_check_port(spec: Object) -> bool:
    return kind_of(spec) == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def keep_allocated(spec: Object, old: Object) -> None:
    """What an update leaves out but still needs is kept from the old object (a PUT of a manifest, say)."""
    if EXTERNAL not in (kind_of(spec), kind_of(old)):
        if not spec.get("clusterIP") and not spec.get("clusterIPs"):
            spec["clusterIP"] = old.get("clusterIP")
            spec["clusterIPs"] = list(old.get("clusterIPs") or [old.get("clusterIP")])
        elif not spec.get("clusterIPs") and spec.get("clusterIP") == old.get("clusterIP"):
            spec["clusterIPs"] = list(old.get("clusterIPs") or [spec["clusterIP"]])
    if is_headless(spec) and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [NONE]
    if wants_node_ports(spec) and wants_node_ports(old):
        _keep_node_ports(spec, old)
    if wants_health_check_port(spec) and wants_health_check_port(old) and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = old.get("healthCheckNodePort")


def changed_address(spec: Object, old: Object) -> list[FieldError]:
    """A Service keeps its address, or its lack of one, for as long as it has a type that uses addresses."""
    before, after = old.get("clusterIP"), spec.get("clusterIP") or (spec.get("clusterIPs") or [None])[0]
    if EXTERNAL in (kind_of(spec), kind_of(old)) or not before or not after or before == after:
        return []
    return [FieldError("FieldValueInvalid", "spec.clusterIPs[0]", "may not change once set", [after])]


def _keep_node_ports(spec: Object, old: Object) -> None:
    known = {_port_key(port): port.get("nodePort") for port in entries(old, "ports")}
    used = {port.get("nodePort") for port in entries(spec, "ports")}
    for port in entries(spec, "ports"):
        kept = known.get(_port_key(port))
        if not port.get("nodePort") and kept and kept not in used:
            port["nodePort"] = kept


def _port_key(port: Object) -> tuple[str, int]:
    return port.get("protocol") or "TCP", port.get("port", 0)


def drop_released(spec: Object, old: Object) -> None:
    """After a change of type, what only the old type used goes, unless the client changed it in the same update."""
    if kind_of(spec) == EXTERNAL and wants_address(old) and cluster_ips(spec) == cluster_ips(old):
        for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            spec.pop(field, None)
    if kind_of(old) in _WITH_NODE_PORTS and kind_of(spec) not in _WITH_NODE_PORTS:
        before = set(node_ports(old))
        for port in entries(spec, "ports"):
            if port.get("nodePort") in before:
                del port["nodePort"]
    unneeded = wants_health_check_port(old) and not wants_health_check_port(spec)
    if unneeded and spec.get("healthCheckNodePort") == old.get("healthCheckNodePort"):
        spec.pop("healthCheckNodePort", None)
    if kind_of(old) == "LoadBalancer" and kind_of(spec) != "LoadBalancer":
        for field in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if spec.get(field) == old.get(field):
                spec.pop(field, None)


def set_families(spec: Object, family: str) -> list[FieldError]:
    """Default `ipFamilies` and `ipFamilyPolicy` for a cluster of one family; refuse what it cannot serve."""
    if kind_of(spec) == EXTERNAL:
        return []
    if is_headless(spec):
        spec["clusterIP"], spec["clusterIPs"] = NONE, [NONE]
        if not spec.get("selector"):
            return _set_selectorless(spec, family)
    policy = spec.get("ipFamilyPolicy") or "SingleStack"
    families = spec.get("ipFamilies") or []
    if policy == "RequireDualStack":
        why = "this cluster is not configured for dual-stack services"
        return [FieldError("FieldValueInvalid", "spec.ipFamilyPolicy", why, policy)]
    for index, wanted in enumerate(families):
        if wanted != family and policy != "PreferDualStack":
            path = f"spec.ipFamilies[{index}]"
            return [FieldError("FieldValueInvalid", path, "not configured on this cluster", wanted)]
    spec["ipFamilyPolicy"], spec["ipFamilies"] = policy, [family]
    return []


def _set_selectorless(spec: Object, family: str) -> list[FieldError]:
    """Headless without selector: whoever writes the endpoints decides, so both families are open."""
    other = "IPv6" if family == "IPv4" else "IPv4"
    policy = spec.get("ipFamilyPolicy") or "RequireDualStack"
    families = list(spec.get("ipFamilies") or [family])
    if policy != "SingleStack" and len(families) == 1:
        families.append(other if families[0] == family else family)
    spec["ipFamilyPolicy"], spec["ipFamilies"] = policy, families
    return []
