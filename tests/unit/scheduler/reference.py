"""A scheduler's filters as slowly and plainly as they can be written: from JSON, node by node, pod by pod.

Written from the documentation alone and sharing nothing with the core, so that agreement means something. Covers what
`test_reference` generates, not everything that there is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Body = dict[str, Any]
UNITS = {"m": 0.001, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def amount(text: str) -> float:
    for unit, factor in UNITS.items():
        if text.endswith(unit):
            return float(text[: -len(unit)]) * factor
    return float(text)


class Cluster:
    """Nodes, and pods with the name of their node."""

    def __init__(self, nodes: Iterable[Body], claims: Iterable[Body] = ()) -> None:
        self.nodes = {node["metadata"]["name"]: node for node in nodes}
        self.placed: list[tuple[Body, str]] = []
        self.claims = {claim["metadata"]["name"]: claim for claim in claims}

    def refusing(self, pod: Body, name: str) -> set[str]:
        """Names of the plugins that keep the pod from the node."""
        rules = {
            "NodeUnschedulable": self._cordoned,
            "TaintToleration": self._tainted,
            "NodeAffinity": self._not_selected,
            "NodePorts": self._port_taken,
            "NodeResourcesFit": self._too_small,
            "PodTopologySpread": self._skewed,
            "InterPodAffinity": self._bad_company,
            "VolumeRestrictions": self._claim_taken,
        }
        return {plugin for plugin, rule in rules.items() if rule(pod, self.nodes[name])}

    def _on(self, node: Body) -> list[Body]:
        return [pod for pod, name in self.placed if name == node["metadata"]["name"]]

    @staticmethod
    def _tolerates(pod: Body, taint: Body) -> bool:
        for toleration in pod["spec"].get("tolerations", []):
            if toleration.get("effect", taint["effect"]) != taint["effect"]:
                continue
            if toleration.get("key", taint["key"]) != taint["key"]:
                continue
            if toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", ""):
                return True
        return False

    def _cordoned(self, pod: Body, node: Body) -> bool:
        taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
        return bool(node["spec"].get("unschedulable")) and not self._tolerates(pod, taint)

    def _tainted(self, pod: Body, node: Body) -> bool:
        hard = [taint for taint in node["spec"]["taints"] if taint["effect"] != "PreferNoSchedule"]
        return any(not self._tolerates(pod, taint) for taint in hard)

    @staticmethod
    def _not_selected(pod: Body, node: Body) -> bool:
        labels = node["metadata"]["labels"]
        return any(labels.get(key) != value for key, value in pod["spec"].get("nodeSelector", {}).items())

    @staticmethod
    def _ports(pod: Body) -> set[int]:
        ports = [port for container in pod["spec"]["containers"] for port in container.get("ports", [])]
        return {port["hostPort"] for port in ports if port.get("hostPort")}

    def _port_taken(self, pod: Body, node: Body) -> bool:
        return any(self._ports(pod) & self._ports(other) for other in self._on(node))

    @staticmethod
    def _request(pod: Body, resource: str) -> float:
        return sum(amount(item["resources"]["requests"].get(resource, "0")) for item in pod["spec"]["containers"])

    def _too_small(self, pod: Body, node: Body) -> bool:
        there = self._on(node)
        allocatable = node["status"]["allocatable"]
        if len(there) + 1 > int(allocatable["pods"]):
            return True
        for resource in ("cpu", "memory"):
            wanted = self._request(pod, resource)
            used = sum(self._request(other, resource) for other in there)
            if wanted and used + wanted > amount(allocatable[resource]) + 1e-6:
                return True
        return False

    # Company ----------------------------------------------------------------------------------------------------

    @staticmethod
    def _terms(pod: Body, kind: str) -> list[Body]:
        affinity = pod["spec"].get("affinity", {}).get(kind, {})
        found: list[Body] = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", [])
        return found

    @staticmethod
    def _selects(selector: Body, pod: Body) -> bool:
        return all(pod["metadata"]["labels"].get(key) == value for key, value in selector["matchLabels"].items())

    def _matches(self, term: Body, owner: Body, other: Body) -> bool:
        same = owner["metadata"]["namespace"] == other["metadata"]["namespace"]
        return same and self._selects(term["labelSelector"], other)

    def _same_domain(self, key: str, node: Body, name: str) -> bool:
        here, there = node["metadata"]["labels"].get(key), self.nodes[name]["metadata"]["labels"].get(key)
        return here is not None and here == there

    def _bad_company(self, pod: Body, node: Body) -> bool:
        for term in self._terms(pod, "podAntiAffinity"):
            if any(
                self._matches(term, pod, other) and self._same_domain(term["topologyKey"], node, name)
                for other, name in self.placed
            ):
                return True
        for other, name in self.placed:
            for term in self._terms(other, "podAntiAffinity"):
                if self._matches(term, other, pod) and self._same_domain(term["topologyKey"], node, name):
                    return True
        near = self._terms(pod, "podAffinity")
        wanted = [(other, name) for other, name in self.placed if all(self._matches(term, pod, other) for term in near)]
        # Company on a node without any of the labels is in no domain: upstream does not count it.
        keys = {term["topologyKey"] for term in near}
        wanted = [(other, name) for other, name in wanted if keys & self.nodes[name]["metadata"]["labels"].keys()]
        if near and not wanted and all(self._matches(term, pod, pod) for term in near):
            return any(term["topologyKey"] not in node["metadata"]["labels"] for term in near)
        return any(not any(self._same_domain(term["topologyKey"], node, name) for _, name in wanted) for term in near)

    def _skewed(self, pod: Body, node: Body) -> bool:
        hard = [
            item
            for item in pod["spec"].get("topologySpreadConstraints", [])
            if item["whenUnsatisfiable"] == "DoNotSchedule"
        ]
        keys = [item["topologyKey"] for item in hard]
        for item in hard:
            key = item["topologyKey"]
            if key not in node["metadata"]["labels"]:
                return True
            counts = self._domain_counts(pod, item, keys)
            least = min(counts.values(), default=0) if len(counts) >= item.get("minDomains", 1) else 0
            own = self._selects(item["labelSelector"], pod)
            if counts.get(node["metadata"]["labels"][key], 0) + own - least > item["maxSkew"]:
                return True
        return False

    def _domain_counts(self, pod: Body, item: Body, keys: list[str]) -> dict[str, int]:
        counts: dict[str, int] = {}
        for name, node in self.nodes.items():
            labels = node["metadata"]["labels"]
            if any(key not in labels for key in keys) or self._left_out(pod, item, node):
                continue
            value = labels[item["topologyKey"]]
            matching = [other for other, place in self.placed if place == name and self._counts(pod, item, other)]
            counts[value] = counts.get(value, 0) + len(matching)
        return counts

    def _counts(self, pod: Body, item: Body, other: Body) -> bool:
        same = other["metadata"]["namespace"] == pod["metadata"]["namespace"]
        return same and self._selects(item["labelSelector"], other)

    def _left_out(self, pod: Body, item: Body, node: Body) -> bool:
        if item.get("nodeAffinityPolicy", "Honor") == "Honor" and self._not_selected(pod, node):
            return True
        return item.get("nodeTaintsPolicy", "Ignore") == "Honor" and self._tainted(pod, node)

    # Claims -----------------------------------------------------------------------------------------------------

    @staticmethod
    def _uses(pod: Body) -> set[str]:
        volumes = pod["spec"].get("volumes", [])
        return {item["persistentVolumeClaim"]["claimName"] for item in volumes if "persistentVolumeClaim" in item}

    def _claim_taken(self, pod: Body, node: Body) -> bool:
        alone = {
            name for name in self._uses(pod) if "ReadWriteOncePod" in self.claims[name]["spec"].get("accessModes", [])
        }
        return any(alone & self._uses(other) for other, _ in self.placed)
