"""The official helm: a chart of ours with hooks is installed, upgraded, rolled back and removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.region_process import HELM, ROOT, RegionProcess

CHART = str(ROOT / "examples" / "chart")

pytestmark = pytest.mark.skipif(not Path(HELM).exists(), reason="no helm here: scripts/fetch-helm needs npm")


def test_install_upgrade_rollback_uninstall(region: RegionProcess, namespace: str) -> None:
    in_namespace = ("-n", namespace)
    region.helm("install", "hi", CHART, *in_namespace, "--wait", "--timeout", "300s")
    assert region.get(*in_namespace, "deployment", "hi")["status"]["readyReplicas"] == 2
    assert region.get(*in_namespace, "configmap", "hi-installed")["data"]["revision"] == "1"
    assert region.get(*in_namespace, "jobs")["items"] == []
    region.helm(
        "upgrade", "hi", CHART, *in_namespace, "--set", "replicas=3,greeting=hey", "--wait", "--timeout", "300s"
    )
    assert region.get(*in_namespace, "deployment", "hi")["status"]["readyReplicas"] == 3
    region.helm("rollback", "hi", "1", *in_namespace, "--wait", "--timeout", "300s")
    assert region.get(*in_namespace, "deployment", "hi")["spec"]["replicas"] == 2
    assert region.get(*in_namespace, "configmap", "hi-greeting")["data"]["greeting"] == "hello"
    assert "3" in region.helm("history", "hi", *in_namespace).splitlines()[-1].split()[0]
    region.helm("uninstall", "hi", *in_namespace, "--wait", "--timeout", "300s")
    assert region.get(*in_namespace, "deployments,services")["items"] == []
