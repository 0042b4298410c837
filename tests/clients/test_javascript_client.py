"""The official JavaScript client: typed objects, patches, watch, informer, exec, attach, port-forward and logs.

The client runs as a program of its own (`javascript/client.mjs`), with the kubeconfig's exec credential, and tells what
each of its steps came to. Its package is installed once, below `.cache`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.region_process import ROOT, RegionProcess

SOURCE = Path(__file__).parent / "javascript"
INSTALLED = ROOT / ".cache" / "javascript"

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("npm") is None, reason="no node or npm here"
)

EXPECTED: dict[str, Any] = {
    "create": True,
    "patches": ["json", "merge", "strategic", "x"],
    "apply": ["javascript", "Apply"],
    "missing": [404, "NotFound"],
    "anyObject": ["a", "b"],
    "watch": ["ADDED", "MODIFIED", "DELETED"],
    "informer": True,
    "deployment": True,
    "logs": True,
    "exec": {"output": "hello", "status": "Success"},
    "execInput": {"output": "typed", "status": "Success"},
    "execCode": {"output": "", "status": "Failure", "code": "3"},
    "attach": "v5.channel.k8s.io",
    "portForward": "200",
    "nodes": 3,
}


@pytest.fixture(scope="session")
def installed() -> Path:
    """The client's folder; skips where its package cannot be had."""
    INSTALLED.mkdir(parents=True, exist_ok=True)
    for file in SOURCE.iterdir():
        shutil.copy(file, INSTALLED / file.name)
    wanted = json.loads((SOURCE / "package.json").read_text())["dependencies"]["@kubernetes/client-node"]
    about = INSTALLED / "node_modules" / "@kubernetes" / "client-node" / "package.json"
    if not about.exists() or json.loads(about.read_text())["version"] != wanted:
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"]
        done = subprocess.run(command, cwd=INSTALLED, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            pytest.skip(f"the JavaScript client cannot be installed: {done.stderr.strip()[-200:]}")
    return INSTALLED


def test_every_step_of_the_client(region: RegionProcess, namespace: str, installed: Path) -> None:
    answers = [json.loads(line) for line in region.run("node", str(installed / "client.mjs"), namespace).splitlines()]
    assert {answer["step"]: answer.get("result", answer.get("error")) for answer in answers} == EXPECTED
