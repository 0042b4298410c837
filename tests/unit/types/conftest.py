"""One registry and its rules for all tests of the types; loading the schemas takes a fifth of a second."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.controlplane.api.types.registry import Registry, built_in_types
from twinplane.controlplane.api.types.rules import UpstreamRules
from twinplane.kubeclient.contract import Object

VERSION = "1.36"


@pytest.fixture(scope="session")
def registry() -> Registry:
    return built_in_types(VERSION)


@pytest.fixture(scope="session")
def rules(registry: Registry) -> UpstreamRules:
    return UpstreamRules(registry)


class Writer:
    """Does to an object what the API server does on a write, without storing it."""

    def __init__(self, registry: Registry, rules: UpstreamRules) -> None:
        self.registry = registry
        self.rules = rules

    def type(self, body: Object) -> ResourceType:
        group, _, version = body["apiVersion"].rpartition("/")
        found = self.registry.by_kind(group, version, body["kind"])
        assert found is not None
        return found

    def create(self, body: Object) -> tuple[Object, list[str]]:
        """(the object as stored, error texts)."""
        body = copy.deepcopy(body)
        served = self.type(body)
        metadata = body.setdefault("metadata", {})
        metadata.setdefault("uid", "2f9b5a4e-0000-4000-8000-000000000001")
        if served.resource.namespaced:
            metadata.setdefault("namespace", "default")
        self.rules.decode(served, body)
        self.rules.prepare_create(served, body)
        self.rules.default(served, body)
        return body, [error.text() for error in self.rules.validate(served, body, None)]

    def update(self, old: Object, body: Object, subresource: str = "") -> tuple[Object, list[str]]:
        body = copy.deepcopy(body)
        served = self.type(body)
        self.rules.decode(served, body)
        self.rules.prepare_update(served, body, old, subresource)
        self.rules.default(served, body)
        return body, [error.text() for error in self.rules.validate(served, body, old, subresource)]


@pytest.fixture(scope="session")
def writer(registry: Registry, rules: UpstreamRules) -> Writer:
    return Writer(registry, rules)


Change = Callable[..., Object]


@pytest.fixture(scope="session")
def changed() -> Change:
    """`changed(body, "spec.replicas", 3)`: a copy with one path set; numbers step into lists, `...` deletes."""

    def change(body: Object, path: str, value: Any) -> Object:
        result: Any = copy.deepcopy(body)
        place = result
        keys: list[Any] = [int(key) if key.isdigit() else key for key in path.split(".")]
        for key in keys[:-1]:
            place = place[key] if isinstance(key, int) else place.setdefault(key, {})
        if value is ...:
            del place[keys[-1]]
        else:
            place[keys[-1]] = value
        return dict(result)

    return change
