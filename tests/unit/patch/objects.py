"""Deployments and managers for the tests of server-side apply."""

from __future__ import annotations

from typing import Any

from tests.unit.patch.conftest import SchemaOf
from twinplane.controlplane.api.patch import managed_fields, server_side_apply
from twinplane.controlplane.api.types.schema import Schema
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import copied

T1, T2, T3 = (f"2026-11-23T10:00:0{second}Z" for second in (1, 2, 3))


def container(name: str = "web", image: str = "nginx:1", **more: Any) -> Object:
    return {"name": name, "image": image, **more}


def deployment(labels: dict[str, str] | None = None, **spec: Any) -> Object:
    metadata: Object = {"name": "web", "namespace": "default"}
    if labels is not None:
        metadata["labels"] = labels
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def with_containers(*containers: Object, **spec: Any) -> Object:
    return deployment(template={"spec": {"containers": list(containers)}}, **spec)


class Cluster:
    """One object, written to as the verbs do it, by apply and by update."""

    def __init__(self, schema: Schema | None, api_version: str = "apps/v1") -> None:
        self.schema = schema
        self.api_version = api_version
        self.live: Object | None = None

    @classmethod
    def of(cls, schema_of: SchemaOf) -> Cluster:
        return cls(schema_of("apps.v1.Deployment"))

    def apply(
        self, config: Object, manager: str = "alice", *, force: bool = False, subresource: str = "", now: str = T1
    ) -> Object:
        before = copied(self.live), copied(config)
        self.live = server_side_apply.apply(
            self.live,
            config,
            schema=self.schema,
            manager=manager,
            api_version=self.api_version,
            force=force,
            subresource=subresource,
            now=now,
        )
        assert before[1] == config, "the configuration was changed"
        self.live["metadata"].setdefault("uid", "u")
        return self.live

    def update(self, new: Object, manager: str = "bob", *, subresource: str = "", now: str = T2) -> Object:
        new = copied(new)
        managed_fields.track_update(
            self.live,
            new,
            schema=self.schema,
            manager=manager,
            api_version=self.api_version,
            subresource=subresource,
            now=now,
        )
        new["metadata"].setdefault("uid", "u")
        self.live = new
        return new

    def change(self, manager: str = "bob", *, subresource: str = "", now: str = T2, **spec: Any) -> Object:
        """Read, change fields of the spec, update."""
        assert self.live is not None
        new = copied(self.live)
        new["spec"].update(spec)
        return self.update(new, manager, subresource=subresource, now=now)

    @property
    def spec(self) -> Object:
        assert self.live is not None
        spec: Object = self.live["spec"]
        return spec

    def entries(self) -> list[Object]:
        assert self.live is not None
        entries: list[Object] = self.live["metadata"].get("managedFields", [])
        return entries

    def fields(self, manager: str) -> Object:
        found: list[Object] = [entry["fieldsV1"] for entry in self.entries() if entry["manager"] == manager]
        return found[0] if found else {}
