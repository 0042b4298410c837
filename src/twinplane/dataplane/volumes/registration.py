"""Registers the EBS driver for a real node. Once after the Node exists, by the agent."""

from __future__ import annotations

import re
import socket

import orjson

from twinplane.dataplane.csi_node import DRIVER, NODE_ID, ZONE, csi_node, publish
from twinplane.dataplane.volumes.contract import Node
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import annotations_of, uid_of
from twinplane.kubeclient.resources import NODES

_interface = re.compile(r"e(th|ns)\d+").fullmatch


def attached_interfaces() -> int:
    """In the network namespace of the caller; a node has at least one."""
    return max(1, sum(1 for _, name in socket.if_nameindex() if _interface(name)))


async def register(node: Node, limit: int) -> None:
    """Idempotent. Raises `ApiError`, OSError."""
    body = await node.client.get(NODES, node.name)
    await _describe(node, body)
    await publish(node.client, csi_node(node.name, uid_of(body), node.instance_id, limit))


async def _describe(node: Node, body: Object) -> None:
    ids = orjson.loads(annotations_of(body).get(NODE_ID) or b"{}") | {DRIVER: node.instance_id}
    metadata = {"labels": {ZONE: node.zone}, "annotations": {NODE_ID: orjson.dumps(ids).decode()}}
    if annotations_of(body).get(NODE_ID) != metadata["annotations"][NODE_ID]:
        await node.client.patch(NODES, node.name, {"metadata": metadata})
