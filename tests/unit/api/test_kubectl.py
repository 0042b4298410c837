"""The official kubectl over TLS against a server in this process."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.api.harness import TOKEN, Api, api_server
from tests.unit.api.tls import server_context, write_kubeconfig
from twinplane.controlplane.api.http.server import serve

KUBECTL = Path(sys.executable).with_name("kubectl")
pytestmark = pytest.mark.skipif(not KUBECTL.exists(), reason="kubectl is not installed")

SHOP = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, labels: {app: shop}}
spec:
  replicas: 2
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec: {containers: [{name: main, image: "nginx:1"}]}
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {selector: {app: shop}, ports: [{port: 80}]}
"""


class Kubectl:
    def __init__(self, api: Api, kubeconfig: Path) -> None:
        self.api = api
        self._environment = os.environ | {"KUBECONFIG": str(kubeconfig), "HOME": str(kubeconfig.parent)}

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            str(KUBECTL), *arguments, env=self._environment, stdin=pipe, stdout=pipe, stderr=pipe
        )

    async def __call__(self, *arguments: str, given: str = "", expect: int = 0) -> str:
        """Output, or the error's text when it is to fail."""
        process = await self.start(*arguments)
        async with asyncio.timeout(60):
            output, errors = await process.communicate(given.encode())
        assert process.returncode == expect, errors.decode()
        return (errors if expect else output).decode()


@pytest.fixture
async def kubectl(tmp_path: Path) -> AsyncIterator[Kubectl]:
    async with api_server() as api:
        server = await serve(api.server, "127.0.0.1", 0, server_context(tmp_path))
        try:
            yield Kubectl(api, write_kubeconfig(tmp_path, server.port, TOKEN))
        finally:
            await server.close(0.05)


async def test_apply_get_change_delete(kubectl: Kubectl) -> None:
    assert await kubectl("apply", "-f", "-", given=SHOP) == "deployment.apps/shop created\nservice/shop created\n"
    unchanged = "deployment.apps/shop unchanged\nservice/shop unchanged\n"
    assert await kubectl("apply", "-f", "-", given=SHOP) == unchanged
    changed = await kubectl("apply", "-f", "-", given=SHOP.replace("nginx:1", "nginx:2"))
    assert changed == "deployment.apps/shop configured\nservice/shop unchanged\n"
    shown = await kubectl("get", "deploy,svc")
    assert "deployment.apps/shop" in shown
    assert "ClusterIP" in shown
    await kubectl("scale", "deploy/shop", "--replicas=5")
    assert await kubectl("get", "deploy", "shop", "-o", "jsonpath={.spec.replicas}") == "5"
    await kubectl("delete", "deploy,svc", "shop")
    assert "NotFound" in await kubectl("get", "deploy", "shop", expect=1)


async def test_server_side_apply_and_dry_run(kubectl: Kubectl) -> None:
    applied = await kubectl("apply", "--server-side", "-f", "-", given=SHOP)
    assert applied == "deployment.apps/shop serverside-applied\nservice/shop serverside-applied\n"
    await kubectl("set", "image", "deploy/shop", "main=nginx:9")
    conflict = await kubectl("apply", "--server-side", "-f", "-", given=SHOP, expect=1)
    assert "Apply failed with 1 conflict" in conflict
    assert "(server dry run)" in await kubectl("delete", "svc", "shop", "--dry-run=server")
    await kubectl("get", "svc", "shop")


async def test_typed_commands_send_protobuf(kubectl: Kubectl) -> None:
    await kubectl("create", "deployment", "web", "--image=nginx", "--port=80")
    await kubectl("create", "secret", "generic", "s", "--from-literal=a=b")
    await kubectl("create", "role", "r", "--verb=get", "--resource=pods")
    await kubectl("create", "serviceaccount", "robot")
    assert await kubectl("create", "token", "robot") == "default/robot"
    assert await kubectl("auth", "can-i", "create", "pods") == "yes\n"
    assert "admin" in await kubectl("auth", "whoami")
    found = json.loads(await kubectl("get", "deploy", "web", "-o", "json"))
    assert found["spec"]["template"]["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]


async def test_explain_and_api_resources(kubectl: Kubectl) -> None:
    assert "NodeName indicates in which node" in await kubectl("explain", "pod.spec.nodeName")
    assert "deployments" in await kubectl("api-resources", "-o", "name")
    assert "Server Version: v1.36.0" in await kubectl("version")


async def test_errors_read_as_upstreams(kubectl: Kubectl) -> None:
    assert 'the server doesn\'t have a resource type "things"' in await kubectl("get", "things", expect=1)
    assert 'pods "x" not found' in await kubectl("get", "pod", "x", expect=1)
    assert "unable to parse requirement" in await kubectl("get", "pods", "-l", "a=(", expect=1)
    bad = SHOP.replace("replicas: 2", "replicas: two")
    assert "cannot unmarshal string" in await kubectl(
        "create", "--validate=false", "-f", "-", given=bad.partition("---")[0], expect=1
    )


async def test_a_watch_follows(kubectl: Kubectl) -> None:
    watching = await kubectl.start("get", "configmaps", "--watch", "-o", "name")
    assert watching.stdout is not None
    async with asyncio.timeout(60):
        while not kubectl.api.runtime.cache.watcher_count():
            await asyncio.sleep(0.01)
        await kubectl("create", "configmap", "a", "--from-literal=x=y")
        assert await watching.stdout.readline() == b"configmap/a\n"
    watching.terminate()
    await watching.communicate()
