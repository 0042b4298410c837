"""Prometheus, packed out of Debian's package, scrapes the API server, its kubelet and its containers from a pod."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from tests.nodes.conftest import archive
from tests.nodes.space import Space
from tests.region_process import eventually

RULES = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: prometheus}
rules:
- {apiGroups: [""], resources: [nodes/metrics], verbs: [get]}
- {nonResourceURLs: [/metrics], verbs: [get]}
"""


def test_prometheus_sees_its_cluster(space: Space) -> None:
    space.region.run("twinplane", "image", "import", str(archive("prometheus:2", ("prometheus",))))
    space.kubectl("apply", "-f", "-", stdin=RULES)
    binding = ("clusterrolebinding", "prometheus", "--clusterrole=prometheus")
    space.kubectl("create", *binding, f"--serviceaccount={space.name}:prometheus")
    space.apply("prometheus.yaml")
    space.rolled_out("deployment/prometheus")

    def query(text: str) -> list[dict[str, Any]]:
        path = f"/api/v1/namespaces/{space.name}/services/prometheus:9090/proxy/api/v1/query?query={quote(text)}"
        found: list[dict[str, Any]] = json.loads(space.kubectl("get", "--raw", path))["data"]["result"]
        return found

    def up() -> dict[str, str]:
        return {each["metric"]["job"]: each["value"][1] for each in query("up")}

    wanted = dict.fromkeys(("apiserver", "cadvisor", "kubelet"), "1")
    eventually(lambda: up() == wanted, "all targets are up")
    own = f'container_memory_working_set_bytes{{namespace="{space.name}",container="prometheus"}}'
    (series,) = eventually(lambda: query(own), "its own memory")
    assert series["metric"]["image"].endswith("prometheus:2")
    assert int(series["value"][1]) > 1 << 20
    assert query('apiserver_request_total{verb="LIST"}')
    assert query("kubelet_running_pods")[0]["value"][1] != "0"
