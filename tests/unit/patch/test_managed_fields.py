"""What a create, update or patch does to managedFields, in upstream's exact form."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.patch.conftest import SchemaOf
from tests.unit.patch.objects import T1, T2, T3, Cluster, container, deployment, with_containers
from twinplane.kubeclient.meta import copied


@pytest.fixture
def cluster(schema_of: SchemaOf) -> Cluster:
    return Cluster.of(schema_of)


def test_create_as_kubectl_does(cluster: Cluster) -> None:
    created = deployment(
        labels={"app": "web"},
        replicas=1,
        selector={"matchLabels": {"app": "web"}},
        strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
        template={
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "containers": [container(ports=[{"containerPort": 80, "protocol": "TCP"}], resources={})],
                "securityContext": {},
            },
        },
    )
    created["metadata"] |= {"uid": "u", "creationTimestamp": T1, "generation": 1}
    created["status"] = {}
    cluster.update(created, "kubectl-create", now=T1)
    assert cluster.entries() == [
        {
            "manager": "kubectl-create",
            "operation": "Update",
            "apiVersion": "apps/v1",
            "time": T1,
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                "f:spec": {
                    "f:replicas": {},
                    "f:selector": {},
                    "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}},
                    "f:template": {
                        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                        "f:spec": {
                            "f:containers": {
                                'k:{"name":"web"}': {
                                    ".": {},
                                    "f:image": {},
                                    "f:name": {},
                                    "f:ports": {
                                        ".": {},
                                        'k:{"containerPort":80,"protocol":"TCP"}': {
                                            ".": {},
                                            "f:containerPort": {},
                                            "f:protocol": {},
                                        },
                                    },
                                    "f:resources": {},
                                }
                            },
                            "f:securityContext": {},
                        },
                    },
                },
            },
        }
    ]
    assert list(cluster.entries()[0]) == ["manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1"]


def test_a_change_takes_the_field_over(cluster: Cluster) -> None:
    cluster.update(deployment(replicas=1, paused=True), "alice", now=T1)
    cluster.change(replicas=2)
    assert cluster.fields("alice") == {"f:spec": {"f:paused": {}}}
    assert cluster.fields("bob") == {"f:spec": {"f:replicas": {}}}


def test_setting_the_same_value_changes_nothing(cluster: Cluster) -> None:
    cluster.update(deployment(replicas=1), "alice", now=T1)
    before = copied(cluster.entries())
    cluster.change(replicas=1)
    assert cluster.entries() == before


def test_more_changes_by_one_manager_are_one_entry_with_the_last_time(cluster: Cluster) -> None:
    cluster.update(deployment(replicas=1), "alice", now=T1)
    cluster.change("alice", paused=True, now=T3)
    assert [(entry["manager"], entry["time"]) for entry in cluster.entries()] == [("alice", T3)]
    assert cluster.fields("alice") == {"f:spec": {"f:paused": {}, "f:replicas": {}}}


def test_a_removed_field_belongs_to_nobody(cluster: Cluster) -> None:
    cluster.update(deployment(replicas=1, paused=True), "alice", now=T1)
    assert cluster.live is not None
    new = copied(cluster.live)
    del new["spec"]["paused"]
    cluster.update(new, "bob", now=T2)
    assert [(entry["manager"], entry["time"]) for entry in cluster.entries()] == [("alice", T1)]
    assert cluster.fields("alice") == {"f:spec": {"f:replicas": {}}}


def test_a_status_update_is_an_entry_of_its_own(cluster: Cluster) -> None:
    cluster.update(deployment(replicas=1), "controller", now=T1)
    assert cluster.live is not None
    new = {**copied(cluster.live), "status": {"replicas": 1, "conditions": [{"type": "Available", "status": "True"}]}}
    cluster.update(new, "controller", subresource="status", now=T2)
    entry = cluster.entries()[1]
    assert (entry["manager"], entry["subresource"], entry["time"]) == ("controller", "status", T2)
    assert list(entry)[-1] == "subresource"
    conditions: dict[str, Any] = {".": {}, 'k:{"type":"Available"}': {".": {}, "f:status": {}, "f:type": {}}}
    assert entry["fieldsV1"] == {"f:status": {"f:conditions": conditions, "f:replicas": {}}}


def test_items_are_told_apart_by_their_keys_with_defaults(cluster: Cluster) -> None:
    cluster.update(with_containers(container(ports=[{"containerPort": 80}])), "alice", now=T1)
    assert cluster.live is not None
    new = copied(cluster.live)
    new["spec"]["template"]["spec"]["containers"][0]["ports"][0] |= {"protocol": "TCP", "name": "http"}
    cluster.update(new, "bob")
    item = cluster.fields("bob")["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"web"}']
    port = item["f:ports"]['k:{"containerPort":80,"protocol":"TCP"}']
    assert port == {"f:name": {}, "f:protocol": {}}


@pytest.mark.parametrize("reset", [[], [{}]])
def test_a_client_may_reset_the_tracking(cluster: Cluster, reset: list[Any]) -> None:
    cluster.update(deployment(replicas=1), "alice", now=T1)
    assert cluster.live is not None
    new = copied(cluster.live)
    new["metadata"]["managedFields"] = reset
    new["spec"]["replicas"] = 2
    cluster.update(new)
    assert cluster.entries() == []
    cluster.change(replicas=3)
    assert cluster.entries() == [], "an untracked object stays untracked"


def test_a_client_that_drops_managed_fields_does_not_lose_them(cluster: Cluster) -> None:
    cluster.update(deployment(replicas=1), "alice", now=T1)
    cluster.update(deployment(replicas=1), "bob", now=T2)
    assert cluster.fields("alice") == {"f:spec": {"f:replicas": {}}}


@pytest.mark.parametrize(
    "broken",
    [
        {"manager": "x", "operation": "Spam", "apiVersion": "v1", "fieldsType": "FieldsV1"},
        {"manager": "x", "operation": "Update", "fieldsType": "FieldsV1"},
        {"manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV2"},
        {"manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:a": 1}},
        {"manager": 5, "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1"},
    ],
)
def test_broken_managed_fields_are_ignored(cluster: Cluster, broken: Any) -> None:
    cluster.update(deployment(replicas=1), "alice", now=T1)
    new = deployment(replicas=1)
    new["metadata"]["managedFields"] = [broken]
    cluster.update(new)
    assert cluster.fields("alice") == {"f:spec": {"f:replicas": {}}}


def test_managed_fields_may_be_edited(cluster: Cluster) -> None:
    cluster.update(deployment(replicas=1), "alice", now=T1)
    assert cluster.live is not None
    new = copied(cluster.live)
    new["metadata"]["managedFields"][0]["manager"] = "carol"
    cluster.update(new)
    assert cluster.fields("carol") == {"f:spec": {"f:replicas": {}}}
    assert cluster.fields("alice") == {}


def test_a_subresource_cannot_edit_managed_fields(cluster: Cluster) -> None:
    cluster.update(deployment(replicas=1), "alice", now=T1)
    assert cluster.live is not None
    new = copied(cluster.live)
    new["metadata"]["managedFields"] = []
    cluster.update(new, subresource="status")
    assert cluster.fields("alice") == {"f:spec": {"f:replicas": {}}}


def test_old_entries_are_put_together(cluster: Cluster) -> None:
    cluster.update(deployment(labels={"l0": "x"}), "m00", now="2026-11-23T10:00:00Z")
    for number in range(1, 15):
        assert cluster.live is not None
        new = copied(cluster.live)
        new["metadata"]["labels"][f"l{number}"] = "x"
        cluster.update(new, f"m{number:02}", now=f"2026-11-23T10:00:{number:02}Z")
    managers = [entry["manager"] for entry in cluster.entries()]
    assert managers == ["ancient-changes", *(f"m{number:02}" for number in range(6, 15))]
    ancient = cluster.fields("ancient-changes")["f:metadata"]["f:labels"]
    assert set(ancient) == {".", *(f"f:l{number}" for number in range(6))}
    assert cluster.entries()[0]["time"] == "2026-11-23T10:00:05Z"


def test_order_of_entries(cluster: Cluster) -> None:
    cluster.update(deployment(labels={"a": "1"}), "zoe", now=T1)
    cluster.change("bob", replicas=2, now=T1)
    cluster.apply(deployment(minReadySeconds=5), "carol", now=T3)
    shown = [(entry["operation"], entry["manager"]) for entry in cluster.entries()]
    assert shown == [("Apply", "carol"), ("Update", "bob"), ("Update", "zoe")]


def test_without_a_schema_maps_are_granular_and_lists_atomic() -> None:
    cluster = Cluster(None, "example.com/v1")
    new = {"apiVersion": "example.com/v1", "metadata": {"name": "x"}, "spec": {"a": {"b": 1}, "list": [{"c": 1}]}}
    cluster.update(new, "alice", now=T1)
    assert cluster.fields("alice") == {"f:spec": {".": {}, "f:a": {".": {}, "f:b": {}}, "f:list": {}}}


def test_duplicate_items_are_one_field(cluster: Cluster) -> None:
    env = [{"name": "X", "value": "1"}, {"name": "X", "value": "2"}]
    cluster.update(with_containers(container(env=env)), "alice", now=T1)
    assert cluster.live is not None
    new = copied(cluster.live)
    new["spec"]["template"]["spec"]["containers"][0]["env"][1]["value"] = "3"
    cluster.update(new, "bob")
    item = cluster.fields("bob")["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"web"}']
    assert item == {"f:env": {'k:{"name":"X"}': {}}}


def test_creates_that_say_the_same_own_the_same(schema_of: SchemaOf) -> None:
    found = []
    for name, time in (("a", T1), ("b", T2)):
        made = Cluster.of(schema_of)
        created = deployment(labels={"app": "web"}, replicas=1)
        created["metadata"] |= {"name": name, "uid": name, "creationTimestamp": time}
        made.update(created, "kubectl-create", now=time)
        (entry,) = made.entries()
        assert entry["time"] == time
        found.append(entry["fieldsV1"])
        made.update({**created, "spec": {**created["spec"], "replicas": 2}}, "other", now=T3)
    assert found[0] == found[1]
    assert "f:replicas" in found[0]["f:spec"]
