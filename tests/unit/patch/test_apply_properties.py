"""Properties of server-side apply over random objects, managers and orders."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.patch.conftest import SchemaOf
from tests.unit.patch.objects import Cluster
from twinplane.controlplane.api.patch.field_set import difference, intersection
from twinplane.controlplane.api.patch.managed_fields import tracked
from twinplane.controlplane.api.patch.merging import without
from twinplane.controlplane.api.patch.typed_value import MISSING, compare, fields_of
from twinplane.kubeclient.meta import copied

Specs = st.SearchStrategy[dict[str, Any]]

texts = st.sampled_from(["x", "y"])


def records(required: dict[str, Any], **optional: st.SearchStrategy[Any]) -> Specs:
    return st.fixed_dictionaries(required, optional=optional)


def by_name(items: Specs, most: int) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(items, max_size=most, unique_by=lambda item: str(item["name"]))


environment = by_name(records({"name": texts}, value=texts), 2)
containers = by_name(
    records(
        {"name": st.sampled_from(["a", "b", "c"])},
        image=texts,
        env=environment,
        command=st.lists(texts, max_size=2),
    ),
    3,
)
template = records(
    {},
    metadata=records({"labels": st.dictionaries(texts, texts, max_size=2)}),
    spec=records({"containers": containers}),
)
configs = records({}, replicas=st.integers(0, 2), paused=st.booleans(), template=template)
steps = st.lists(
    st.tuples(st.sampled_from(["apply", "update"]), st.sampled_from(["alice", "bob"]), configs), min_size=1, max_size=5
)


def deployment_of(spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": copied(spec)}


def run(cluster: Cluster, history: list[tuple[str, str, dict[str, Any]]]) -> None:
    for verb, manager, spec in history:
        if verb == "apply":
            cluster.apply(deployment_of(spec), manager, force=True)
        else:
            cluster.update(deployment_of(spec), manager)


@given(history=steps, last=configs)
def test_a_forced_apply_gets_what_it_asks_for(
    schema_of: SchemaOf, history: list[tuple[str, str, dict[str, Any]]], last: dict[str, Any]
) -> None:
    cluster = Cluster.of(schema_of)
    run(cluster, history)
    live = cluster.apply(deployment_of(last), "carol", force=True)
    changed, removed = compare(tracked(deployment_of(last)), tracked(live), cluster.schema)
    wanted = fields_of(tracked(deployment_of(last)), cluster.schema)
    assert not intersection(wanted, removed), "something applied is missing"
    assert not intersection(difference(wanted, {"f:spec": {}}), _leaves(changed)), "something applied has another value"
    assert copied(cluster.apply(deployment_of(last), "carol")) == live, "a second apply changes nothing"


def _leaves(fields: dict[str, Any]) -> dict[str, Any]:
    """Without containers, which may have more in them than was applied."""
    return {key: _leaves(node) for key, node in fields.items() if key != "."}


@given(history=steps)
def test_every_managed_field_exists(schema_of: SchemaOf, history: list[tuple[str, str, dict[str, Any]]]) -> None:
    cluster = Cluster.of(schema_of)
    run(cluster, history)
    assert cluster.live is not None
    everything = compare({}, tracked(cluster.live), cluster.schema)[0]
    for entry in cluster.entries():
        beyond = difference(entry["fieldsV1"], everything)
        claimed_empty = difference(beyond, fields_of(tracked(cluster.live), cluster.schema))
        assert _only_named_structs(claimed_empty), (entry["manager"], claimed_empty)


def _only_named_structs(fields: dict[str, Any]) -> bool:
    """An empty struct counts as a field while it is empty, and stays in the set when others fill it."""
    return all(key.startswith("f:") and _only_named_structs(node) for key, node in fields.items() if key != ".")


@given(spec=configs)
def test_taking_all_fields_away_leaves_nothing(schema_of: SchemaOf, spec: dict[str, Any]) -> None:
    schema = schema_of("apps.v1.Deployment")
    obj = {"spec": spec}
    everything = compare({}, obj, schema)[0]
    rest = without(obj, everything, schema)
    assert rest is MISSING or compare({}, rest, schema)[0] == {}
