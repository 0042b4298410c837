"""Whether this node takes a pod that was bound to it: the kubelet's own last check. Pure.

Pods of a DaemonSet or with `nodeName` set by hand never met the scheduler. Reasons and messages: kubelet
`lifecycle/predicate.go`, `sysctl/allowlist.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from twinplane.dataplane.kubelet.containers.resources import Amounts, pod_requests
from twinplane.dataplane.kubelet.pods.spec import all_containers, is_static
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.declared_features import needed_to_run
from twinplane.kubeclient.meta import labels_of
from twinplane.kubeclient.node_fit import matches_node, untolerated
from twinplane.kubeclient.quantity import milli, whole

SAFE_SYSCTLS = frozenset(
    (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    )
)


FEATURES = ("ExtendWebSocketsToKubelet",)
"""What the node declares, of the features that API server and scheduler ask for (KEP-5328): what this kubelet does."""


class Refusal(NamedTuple):
    reason: str
    message: str


class NodeState(NamedTuple):
    """What the check is made against."""

    node: Object
    """With labels and taints; the API server's when it is known."""
    allocatable: Mapping[str, Any]
    pods: list[Object]
    """Those that the node holds, finished ones left out."""
    unsafe_sysctls: tuple[str, ...] = ()
    """Names or prefixes ending in `*` that the node allows."""


def refusal(pod: Object, there: NodeState) -> Refusal | None:
    checks = (_operating_system, _features, _sysctls, _resources, _placement, _host_ports)
    return next((found for check in checks if (found := check(pod, there)) is not None), None)


def _operating_system(pod: Object, there: NodeState) -> Refusal | None:
    wanted = (pod["spec"].get("os") or {}).get("name") or "linux"
    if wanted != "linux":
        return Refusal("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
    selected = (pod["spec"].get("nodeSelector") or {}).get("kubernetes.io/os") or "linux"
    if selected != "linux":
        text = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"
        return Refusal("PodOSSelectorNodeLabelDoesNotMatch", text)
    return None


def _features(pod: Object, there: NodeState) -> Refusal | None:
    missing = sorted(needed_to_run(pod["spec"]).difference(FEATURES))
    if not missing:
        return None
    return Refusal("PodFeatureUnsupported", f"Pod requires node features that are not available: {', '.join(missing)}")


def _sysctls(pod: Object, there: NodeState) -> Refusal | None:
    for item in (pod["spec"].get("securityContext") or {}).get("sysctls") or ():
        name = item["name"].replace("/", ".")
        allowed = name in SAFE_SYSCTLS or any(
            name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
            for pattern in there.unsafe_sysctls
        )
        if not allowed:
            return Refusal("SysctlForbidden", f'forbidden sysctl: "{item["name"]}" not allowlisted')
    return None


def _resources(pod: Object, there: NodeState) -> Refusal | None:
    pods = int(there.allocatable.get("pods", 0))
    if len(there.pods) >= pods:
        return _out_of("pods", 1, len(there.pods), pods)
    wanted = {name: amount for name, amount in pod_requests(pod).items() if amount}
    held = [pod_requests(other) for other in there.pods] if wanted else []
    for name, amount in wanted.items():
        if "/" in name and name not in there.allocatable:
            # An extended resource that others keep account of: the kubelet knows nothing of it.
            continue
        text = there.allocatable.get(name, "0")
        available = milli(text) if name == "cpu" else whole(text)
        used = sum(other.get(name, 0) for other in held)
        if used + amount > available:
            return _out_of(name, amount, used, available)
    return None


def _out_of(name: str, requested: int, used: int, capacity: int) -> Refusal:
    text = f"resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
    return Refusal(f"OutOf{name}", f"Node didn't have enough {text}")


def _placement(pod: Object, there: NodeState) -> Refusal | None:
    if is_static(pod) or not labels_of(there.node):
        return None
    if not matches_node(pod["spec"], there.node):
        text = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
        return Refusal("NodeAffinity", text)
    taints = there.node.get("spec", {}).get("taints") or []
    if untolerated(taints, pod["spec"].get("tolerations") or [], ["NoExecute"]):
        text = "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"
        return Refusal("TaintToleration", text)
    return None


def _host_ports(pod: Object, there: NodeState) -> Refusal | None:
    wanted = host_ports(pod)
    taken = set().union(*(host_ports(other) for other in there.pods)) if there.pods else set()
    for ip, protocol, port in wanted:
        for other_ip, other_protocol, other_port in taken:
            overlaps = ip == other_ip or "0.0.0.0" in (ip, other_ip)
            if overlaps and (protocol, port) == (other_protocol, other_port):
                text = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
                return Refusal("NodePorts", text)
    return None


def host_ports(pod: Object) -> set[tuple[str, str, int]]:
    """Address, protocol and port that it takes of the node."""
    return {
        (port.get("hostIP") or "0.0.0.0", port.get("protocol") or "TCP", int(port["hostPort"]))
        for kind, container in all_containers(pod)
        if kind in ("main", "sidecar")
        for port in container.get("ports") or ()
        if port.get("hostPort")
    }


def requests_of(pods: Iterable[Object]) -> list[Amounts]:
    return [pod_requests(pod) for pod in pods]
