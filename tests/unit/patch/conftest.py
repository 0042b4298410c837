"""Schemas of built-in types, as the API server has them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from twinplane.controlplane.api.types.definitions import load
from twinplane.controlplane.api.types.schema import Definitions, Schema

SchemaOf = Callable[[str], Schema]


@pytest.fixture(scope="session")
def definitions() -> Definitions:
    return load("1.36")


@pytest.fixture(scope="session")
def schema_of(definitions: Definitions) -> SchemaOf:
    """`apps.v1.Deployment` -> its schema."""
    cache: dict[str, Schema] = {}
    return lambda name: Schema.named(f"io.k8s.api.{name}", definitions, cache)
