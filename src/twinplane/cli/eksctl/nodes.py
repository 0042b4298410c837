"""Waiting for nodes to join, as eksctl does at the end of `create`: asks the API server with the caller's own token."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
from typing import Any
from urllib.parse import quote, urlsplit

from twinplane.cli.eksctl.config import ClusterConfig, NodeGroup
from twinplane.cli.output import CommandError, Progress
from twinplane.cli.region_access import RegionAccess
from twinplane.cli.token import access_token

LONGEST_WAIT_SECONDS = 120
POLL_SECONDS = 0.05


def wait_until_ready(access: RegionAccess, cluster: dict[str, Any], config: ClusterConfig, progress: Progress) -> None:
    """Every node group has as many Ready nodes as its minimum size; each node is named as it is found ready."""
    if not config.node_groups:
        return
    api = api_of(access, cluster)
    for group in config.node_groups:
        nodes = _wait(api, group)
        progress.info(f'nodegroup "{group.name}" has {len(nodes)} node(s)')
        for node in nodes:
            progress.info(f'node "{node["metadata"]["name"]}" is ready')


def _wait(api: Api, group: NodeGroup) -> list[dict[str, Any]]:
    end = time.monotonic() + LONGEST_WAIT_SECONDS
    selector = quote(f"eks.amazonaws.com/nodegroup={group.name}", safe="")
    while True:
        ready = [node for node in api.get(f"/api/v1/nodes?labelSelector={selector}")["items"] if _is_ready(node)]
        if len(ready) >= max(group.desired, group.minimum):
            return ready
        if time.monotonic() > end:
            raise CommandError(
                f"timed out (after {LONGEST_WAIT_SECONDS} s) waiting for at least {group.desired} nodes to join the "
                f'cluster and become ready in "{group.name}"; {len(ready)} are'
            )
        time.sleep(POLL_SECONDS)


def _is_ready(node: dict[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)


def api_of(access: RegionAccess, cluster: dict[str, Any]) -> Api:
    """The API server of a cluster as DescribeCluster shows it; connects with the first request."""
    return Api(cluster, access_token(access, cluster["name"], time.time()))


class Api:
    """Requests with a bearer token over one kept connection: http.client, since the command must start fast."""

    def __init__(self, cluster: dict[str, Any], token: str) -> None:
        authority = base64.b64decode(cluster["certificateAuthority"]["data"]).decode()
        self._address = urlsplit(cluster["endpoint"]).netloc
        context = ssl.create_default_context(cadata=authority)
        self._connection = http.client.HTTPSConnection(self._address, context=context, timeout=10)
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}

    def get(self, path: str) -> dict[str, Any]:
        return self.send("GET", path)

    def find(self, path: str) -> dict[str, Any] | None:
        """None for what is not there."""
        status, body = self._answer("GET", path, None)
        return None if status == http.client.NOT_FOUND else _checked(status, body)

    def send(self, method: str, path: str, content: Any = None) -> dict[str, Any]:
        return _checked(*self._answer(method, path, content))

    def _answer(self, method: str, path: str, content: Any) -> tuple[int, dict[str, Any]]:
        data = None if content is None else json.dumps(content)
        headers = self._headers | ({"Content-Type": "application/json"} if data is not None else {})
        self._connection.request(method, path, body=data, headers=headers)
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())


def _checked(status: int, body: dict[str, Any]) -> dict[str, Any]:
    if status >= http.client.BAD_REQUEST:
        raise CommandError(f"the API server answered {status}: {body.get('message', '')}")
    return body
