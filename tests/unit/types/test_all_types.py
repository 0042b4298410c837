"""Every type of every version: it has a definition, its defaults are idempotent, valid objects pass, tables fit."""

from __future__ import annotations

import copy

import pytest

from tests.unit.types import objects
from tests.unit.types.conftest import Writer
from twinplane.controlplane.api.types import tables
from twinplane.controlplane.api.types.definitions import SUPPORTED_VERSIONS
from twinplane.controlplane.api.types.registry import Registry, built_in_types
from twinplane.controlplane.api.types.rules import UpstreamRules
from twinplane.kubeclient import resources
from twinplane.kubeclient.contract import Object, Resource


@pytest.mark.parametrize("version", SUPPORTED_VERSIONS)
def test_every_version_serves_complete_types(version: str) -> None:
    registry = built_in_types(version)
    rules = UpstreamRules(registry)
    for served in registry.all():
        assert served.schema.property_names, served.resource
        body: Object = {"metadata": {"name": "any"}}
        rules.decode(served, body)
        rules.prepare_create(served, body)
        rules.default(served, body)
        again = copy.deepcopy(body)
        rules.default(served, again)
        assert again == body
        rules.validate(served, body, None)
        assert rules.field_labels(served, body).keys() == set(served.selectable_fields)
        assert len(tables.table_row(served, body, 0.0)) == len(tables.table_columns(served))


@pytest.mark.parametrize("body", objects.VALID, ids=lambda body: f"{body['apiVersion']}/{body['kind']}")
def test_a_valid_object_passes_and_may_be_written_again(writer: Writer, body: Object) -> None:
    stored, errors = writer.create(body)
    assert errors == []
    assert writer.rules.unknown_fields(writer.type(body), body) == []
    again, errors = writer.update(stored, stored)
    assert errors == []
    assert again["metadata"].get("generation") == stored["metadata"].get("generation")
    assert again == stored


def test_the_constants_of_our_own_components_name_served_types(registry: Registry) -> None:
    for value in vars(resources).values():
        # DeviceTaintRules are served from 1.37 on; whoever follows them asks first.
        if isinstance(value, Resource) and value != resources.DEVICE_TAINT_RULES:
            found = registry.lookup(value.group, value.version, value.plural)
            assert found is not None
            assert found.resource == value


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Kubernetes 1\.12 is not supported"):
        built_in_types("1.12")
