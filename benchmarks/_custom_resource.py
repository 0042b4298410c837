"""A CustomResourceDefinition as operators ship them: 200 lines of schema in YAML, two CEL rules, and objects of it."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from benchmarks._load import Client

GROUP = "bench.example.com"
PATH = f"/apis/{GROUP}/v1/namespaces/default/clusters"
SECTIONS = ("backup", "cache", "ingress", "logging", "metrics", "network", "storage", "tracing", "tls")
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_ATTEMPTS = 100


def schema() -> dict[str, Any]:
    replicas = {"type": "integer", "minimum": 0, "maximum": 1000, "default": 1}
    properties: dict[str, Any] = {"minReplicas": replicas, "maxReplicas": replicas}
    for name in SECTIONS:
        properties[name] = {
            "type": "object",
            "required": ["enabled"],
            "properties": {
                "enabled": {"type": "boolean", "default": False},
                "class": {"type": "string", "maxLength": 63, "pattern": "^[a-z0-9-]+$"},
                "mode": {"type": "string", "enum": ["Fast", "Safe"], "default": "Safe"},
                "retries": {"type": "integer", "minimum": 0, "maximum": 10},
            },
        }
    rules = [
        {"rule": "self.minReplicas <= self.maxReplicas", "message": "minReplicas must not exceed maxReplicas"},
        {"rule": "!self.backup.enabled || self.storage.enabled", "message": "backup needs storage"},
    ]
    spec = {"type": "object", "properties": properties, "x-kubernetes-validations": rules}
    return {"type": "object", "required": ["spec"], "properties": {"spec": spec}}


async def establish(client: Client) -> None:
    """Returns when objects can be created. Raises RuntimeError when the definition does not become so."""
    names = {"plural": "clusters", "singular": "cluster", "kind": "Cluster", "listKind": "ClusterList"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema()}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"clusters.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }
    await client.request("POST", DEFINITIONS, orjson.dumps(definition), expect=201)
    for _ in range(_ATTEMPTS):
        found = orjson.loads(await client.request("GET", f"{DEFINITIONS}/clusters.{GROUP}"))
        conditions = {each["type"]: each["status"] for each in found.get("status", {}).get("conditions") or ()}
        if conditions.get("Established") == "True":
            await asyncio.sleep(1)
            return
        await asyncio.sleep(0.1)
    raise RuntimeError("the definition was not established")


def body(number: int) -> bytes:
    spec: dict[str, Any] = {"minReplicas": 2, "maxReplicas": 5}
    for name in SECTIONS:
        spec[name] = {"enabled": True, "class": f"{name}-default", "retries": 3}
    metadata = {"name": f"cluster-{number}", "labels": {"app": "bench"}}
    return orjson.dumps({"apiVersion": f"{GROUP}/v1", "kind": "Cluster", "metadata": metadata, "spec": spec})
