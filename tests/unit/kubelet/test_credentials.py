"""The node's identity: a token that follows the file of keys, and a client that goes on to the next API server."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from twinplane.dataplane.kubelet.node.credentials import FailoverClient, NodeToken
from twinplane.kubeclient.resources import PODS
from twinplane.testing.virtual_time import VirtualClock, virtual_time


@virtual_time
async def test_tokens_follow_the_keys(clock: VirtualClock, tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    token = NodeToken("demo", "us-west-2", clock, path)
    with pytest.raises(OSError, match="No such file"):
        await token()
    _write(path, "AKIA1")
    first = await token()
    assert first == await token()
    url = base64.urlsafe_b64decode(first.removeprefix("k8s-aws-v1.") + "==").decode()
    assert url.startswith("https://sts.us-west-2.amazonaws.com/?Action=GetCallerIdentity")
    _write(path, "AKIA2")
    assert "AKIA2" in base64.urlsafe_b64decode((await token()).removeprefix("k8s-aws-v1.") + "==").decode()
    path.write_text("{")
    with pytest.raises(ConnectionError):
        await token()


def _write(path: Path, key: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"accessKeyId": key, "secretAccessKey": "s", "sessionToken": "t", "expiration": 0}))
    new.replace(path)


class Server:
    def __init__(self) -> None:
        self.up = True
        self.asked = 0

    async def _request(self, *_: Any, **__: Any) -> dict[str, Any]:
        self.asked += 1
        if not self.up:
            raise ConnectionRefusedError("down")
        return {"metadata": {"name": "web"}}


async def test_the_next_api_server_is_asked() -> None:
    servers = [Server(), Server()]
    client = FailoverClient(servers)  # type: ignore[arg-type] # all that is called of an HttpClient
    servers[0].up = False
    await client.get(PODS, "web", "default")
    await client.get(PODS, "web", "default")
    assert [server.asked for server in servers] == [1, 2]
    servers[1].up = False
    with pytest.raises(ConnectionRefusedError):
        await client.get(PODS, "web", "default")
