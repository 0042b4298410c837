"""`twinplane explain pod` over an in-memory cluster, and the kubeconfigs that lead to a cluster."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
import yaml

from tests.unit.scheduler.builders import node, pod
from tests.unit.scheduler.storage_builders import claim, mounts
from twinplane.cli import explain, kube_access
from twinplane.cli.main import main
from twinplane.cli.output import CommandError
from twinplane.kubeclient.contract import ObjectList, Resource
from twinplane.kubeclient.errors import forbidden
from twinplane.kubeclient.resources import NODES, PERSISTENT_VOLUME_CLAIMS, PODS
from twinplane.testing.memory_cluster import MemoryCluster


class Client(MemoryCluster):
    """As `HttpClient`: entered before use; may be kept from listing a type."""

    denied: tuple[Resource, ...] = ()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    async def list(self, resource: Resource, namespace: str | None = None, **options: Any) -> ObjectList:
        if resource in self.denied:
            raise forbidden(resource.group, resource.plural, "", "no")
        return await super().list(resource, namespace, **options)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Client:
    made = Client()
    monkeypatch.setattr(explain, "client_of", lambda arguments: (made, "default"))
    return made


def test_every_node_and_plugin_is_shown(cluster: Client, capsys: pytest.CaptureFixture[str]) -> None:
    taint = {"key": "k", "value": "v", "effect": "NoSchedule"}
    cluster.seed(NODES, node("big"), node("small", cpu="1"), node("tainted", taints=[taint], cpu="1"))
    cluster.seed(PODS, pod("p", cpu="2"))
    assert main(["explain", "pod", "p"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["Pod:", "default/p"]
    assert "Scheduled now it would go to big." in lines
    heading, *rows = [line for line in lines if line.startswith(("NODE", "big", "small", "tainted"))]
    assert heading.split()[:3] == ["NODE", "VERDICT", "SCORE"]
    assert "NodeResourcesFit" in heading
    assert rows[0].split()[:2] == ["big", "fits"]
    assert "NodeResourcesFit: Insufficient cpu" in rows[1]
    assert "TaintToleration: node(s) had untolerated taint(s); NodeResourcesFit: Insufficient cpu" in rows[2]


def test_as_json(cluster: Client, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.seed(NODES, node("a", cpu="1"))
    cluster.seed(PODS, pod("low", cpu="1", nodeName="a"), pod("high", cpu="1", priority=10))
    assert main(["explain", "pod", "high", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["nominatedNode"] == "a"
    assert found["victims"] == ["default/low"]
    assert found["nodes"][0]["refusals"] == {"NodeResourcesFit": ["Insufficient cpu"]}


def test_a_running_pod_is_judged_as_if_it_were_not(cluster: Client, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.seed(NODES, node("a", cpu="1"))
    cluster.seed(PODS, pod("p", cpu="1", nodeName="a"))
    assert main(["explain", "pod", "p"]) == 0
    assert "would go to a." in capsys.readouterr().out


def test_what_may_not_be_listed_is_left_out(cluster: Client, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.denied = (PERSISTENT_VOLUME_CLAIMS,)
    cluster.seed(NODES, node("a"))
    cluster.seed(PERSISTENT_VOLUME_CLAIMS, claim("data"))
    cluster.seed(PODS, pod("p", **mounts("data")))
    assert main(["explain", "pod", "p"]) == 0
    captured = capsys.readouterr()
    assert "Warning: judged without persistentvolumeclaims" in captured.err
    assert 'persistentvolumeclaim "data" not found' in captured.out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["missing"], 'pods "missing" not found'),
        (["other"], 'left to the scheduler "mine"'),
        (["p", "--scheduler-config", "/nowhere"], "cannot read /nowhere"),
    ],
)
def test_problems(cluster: Client, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str) -> None:
    cluster.seed(NODES, node("a"))
    cluster.seed(PODS, pod("other", schedulerName="mine"), pod("p"))
    assert main(["explain", "pod", *arguments]) == 1
    assert problem in capsys.readouterr().err


# Kubeconfigs --------------------------------------------------------------------------------------------------------


def kubeconfig(tmp_path: Path, user: dict[str, Any], **changes: Any) -> argparse.Namespace:
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "team"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": user}],
        **changes,
    }
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config))
    return argparse.Namespace(kubeconfig=str(path), context=None)


def token_of(arguments: argparse.Namespace) -> str:
    client, namespace = kube_access.client_of(arguments)
    assert namespace == "team"
    source = client._token_source
    assert source is not None
    return asyncio.run(source())  # type: ignore[arg-type]  # a coroutine, which Awaitable does not promise


def test_tokens(tmp_path: Path) -> None:
    assert token_of(kubeconfig(tmp_path, {"token": "plain"})) == "plain"
    (tmp_path / "token").write_text("from-file\n")
    assert token_of(kubeconfig(tmp_path, {"tokenFile": "token"})) == "from-file"


def test_exec_plugins(tmp_path: Path) -> None:
    script = "import json, os; print(json.dumps({'status': {'token': os.environ['WHO'] + '-token'}}))"
    plugin = {"command": sys.executable, "args": ["-c", script], "env": [{"name": "WHO", "value": "me"}]}
    assert token_of(kubeconfig(tmp_path, {"exec": plugin})) == "me-token"


@pytest.mark.parametrize(
    ("user", "changes", "problem"),
    [
        ({"exec": {"command": sys.executable, "args": ["-c", "raise SystemExit('nope')"]}}, {}, "nope"),
        ({"exec": {"command": "/nowhere"}}, {}, "gave no credentials"),
        ({"tokenFile": "missing"}, {}, "cannot read"),
        ({}, {"current-context": ""}, "no current context"),
        ({}, {"clusters": []}, 'no cluster "k"'),
    ],
)
def test_kubeconfigs_of_no_use(tmp_path: Path, user: dict[str, Any], changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(CommandError, match=problem):
        kube_access.client_of(kubeconfig(tmp_path, user, **changes))
