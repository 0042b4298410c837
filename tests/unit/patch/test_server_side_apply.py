"""Server-side apply: merging, sharing, conflicts, taking over, removal, in upstream's words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.patch.conftest import SchemaOf
from tests.unit.patch.objects import T1, T2, T3, Cluster, container, deployment, with_containers
from twinplane.controlplane.api.patch.last_applied import ANNOTATION
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import copied


@pytest.fixture
def cluster(schema_of: SchemaOf) -> Cluster:
    return Cluster.of(schema_of)


def image_of(cluster: Cluster, index: int = 0) -> str:
    return str(cluster.spec["template"]["spec"]["containers"][index]["image"])


def container_names(cluster: Cluster) -> list[str]:
    return [entry["name"] for entry in cluster.spec["template"]["spec"]["containers"]]


def test_create_by_apply(cluster: Cluster) -> None:
    config = with_containers(container(), replicas=2, selector={"matchLabels": {"app": "web"}})
    config["metadata"]["labels"] = {"app": "web"}
    live = cluster.apply(config)
    assert live["spec"] == config["spec"]
    assert cluster.entries() == [
        {
            "manager": "alice",
            "operation": "Apply",
            "apiVersion": "apps/v1",
            "time": T1,
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {
                    "f:replicas": {},
                    "f:selector": {},
                    "f:template": {
                        "f:spec": {"f:containers": {'k:{"name":"web"}': {".": {}, "f:image": {}, "f:name": {}}}}
                    },
                },
            },
        }
    ]


def test_applying_again_changes_nothing(cluster: Cluster) -> None:
    cluster.apply(deployment(replicas=2), now=T1)
    before = copied(cluster.live)
    assert cluster.apply(deployment(replicas=2), now=T2) == before


def test_one_conflict(cluster: Cluster) -> None:
    cluster.update(deployment(replicas=1), "kubectl", now=T1)
    with pytest.raises(ApiError) as caught:
        cluster.apply(deployment(replicas=2))
    error = caught.value
    assert (error.code, error.reason) == (409, "Conflict")
    assert error.message == 'Apply failed with 1 conflict: conflict with "kubectl" using apps/v1: .spec.replicas'
    assert error.details == {
        "causes": [
            {
                "reason": "FieldManagerConflict",
                "message": 'conflict with "kubectl" using apps/v1',
                "field": ".spec.replicas",
            }
        ]
    }


def test_several_conflicts(cluster: Cluster) -> None:
    cluster.apply(with_containers(container()), "carol")
    cluster.change("kubectl", replicas=1)
    cluster.change("scaler", subresource="scale", minReadySeconds=1)
    with pytest.raises(ApiError) as caught:
        cluster.apply(with_containers(container(image="nginx:2"), replicas=2, minReadySeconds=2))
    assert caught.value.message == (
        "Apply failed with 3 conflicts: "
        'conflicts with "carol":\n- .spec.template.spec.containers[name="web"].image\n'
        'conflicts with "kubectl" using apps/v1:\n- .spec.replicas\n'
        'conflicts with "scaler" with subresource "scale" using apps/v1:\n- .spec.minReadySeconds'
    )


def test_force_takes_over(cluster: Cluster) -> None:
    cluster.update(deployment(replicas=1, paused=True), "kubectl", now=T1)
    cluster.apply(deployment(replicas=2), force=True, now=T2)
    assert cluster.spec == {"replicas": 2, "paused": True}
    assert cluster.fields("kubectl") == {"f:spec": {"f:paused": {}}}
    assert cluster.fields("alice") == {"f:spec": {"f:replicas": {}}}


def test_equal_values_are_shared(cluster: Cluster) -> None:
    cluster.apply(deployment(replicas=2), "alice")
    cluster.apply(deployment(replicas=2), "bob", now=T2)
    assert cluster.fields("alice") == cluster.fields("bob") == {"f:spec": {"f:replicas": {}}}
    with pytest.raises(ApiError):
        cluster.apply(deployment(replicas=3), "alice")
    cluster.apply(deployment(), "bob", now=T3)
    assert cluster.spec["replicas"] == 2, "alice still wants it"
    cluster.apply(deployment(replicas=3), "alice", now=T3)
    assert cluster.spec["replicas"] == 3


def test_what_is_left_out_is_removed(cluster: Cluster) -> None:
    cluster.apply(with_containers(container(), container("sidecar"), replicas=2, paused=True))
    cluster.apply(with_containers(container(), replicas=2), now=T2)
    assert cluster.spec == {"replicas": 2, "template": {"spec": {"containers": [container()]}}}


def test_what_an_update_owns_as_well_is_not_removed(cluster: Cluster) -> None:
    cluster.apply(deployment(labels={"a": "1"}, replicas=2))
    cluster.change("kubectl", replicas=3)
    cluster.apply(deployment(labels={"a": "1"}), now=T3)
    assert cluster.spec == {"replicas": 3}


def test_removing_labels_leaves_those_of_others_and_the_system_fields(cluster: Cluster) -> None:
    cluster.apply(deployment(labels={"a": "1"}, replicas=1))
    assert cluster.live is not None
    new = copied(cluster.live)
    new["metadata"]["labels"]["b"] = "2"
    cluster.update(new, "kubectl-label")
    cluster.apply(deployment(replicas=1), now=T3)
    assert cluster.live["metadata"]["labels"] == {"b": "2"}
    assert cluster.live["metadata"]["uid"] == "u"


def test_removing_all_labels_leaves_the_metadata(cluster: Cluster) -> None:
    cluster.apply(deployment(labels={"a": "1"}, replicas=1))
    cluster.apply(deployment(replicas=1), now=T3)
    assert cluster.live is not None
    metadata = cluster.live["metadata"]
    assert "labels" not in metadata
    assert (metadata["name"], metadata["uid"]) == ("web", "u")


def test_an_empty_configuration_removes_everything_and_the_entry(cluster: Cluster) -> None:
    cluster.apply(deployment(replicas=1, paused=True))
    cluster.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}, now=T2)
    assert cluster.live is not None
    assert cluster.live.get("spec", {}) == {}
    assert cluster.entries() == []


def test_an_item_with_fields_of_others_loses_only_ours(cluster: Cluster) -> None:
    cluster.apply(with_containers(container(tty=True)))
    cluster.apply(with_containers({"name": "web", "stdin": True}), "bob", now=T2)
    cluster.apply(deployment(replicas=1), now=T3)
    assert cluster.spec["template"]["spec"]["containers"] == [{"name": "web", "stdin": True}]


def test_order_of_a_merged_list(cluster: Cluster) -> None:
    cluster.update(with_containers(container("a"), container("b"), container("c")), "kubectl", now=T1)
    cluster.apply(with_containers({"name": "d", "image": "x"}, {"name": "b"}), now=T2)
    assert container_names(cluster) == ["a", "d", "b", "c"]
    cluster.apply(with_containers({"name": "b"}, {"name": "d", "image": "x"}), now=T3)
    assert container_names(cluster) == ["a", "b", "d", "c"]


def test_atomic_fields_are_taken_whole(cluster: Cluster) -> None:
    cluster.update(deployment(selector={"matchLabels": {"a": "1"}}), "kubectl", now=T1)
    with pytest.raises(ApiError) as caught:
        cluster.apply(deployment(selector={"matchLabels": {"a": "1", "b": "2"}}))
    assert caught.value.message.endswith(": .spec.selector")
    cluster.apply(deployment(selector={"matchLabels": {"b": "2"}}), force=True)
    assert cluster.spec["selector"] == {"matchLabels": {"b": "2"}}


def test_sets_are_merged_by_value(cluster: Cluster) -> None:
    config = deployment()
    config["metadata"]["finalizers"] = ["a/b"]
    cluster.apply(config)
    config = deployment()
    config["metadata"]["finalizers"] = ["c/d"]
    cluster.apply(config, "bob", now=T2)
    assert cluster.live is not None
    assert sorted(cluster.live["metadata"]["finalizers"]) == ["a/b", "c/d"]
    assert cluster.fields("bob")["f:metadata"] == {"f:finalizers": {'v:"c/d"': {}}}
    cluster.apply(deployment(paused=True), "bob", now=T3)
    assert cluster.live["metadata"]["finalizers"] == ["a/b"]


def test_an_untracked_object_belongs_to_before_first_apply(cluster: Cluster) -> None:
    cluster.live = with_containers(container(), replicas=1)
    cluster.live["metadata"]["uid"] = "u"
    with pytest.raises(ApiError) as caught:
        cluster.apply(deployment(replicas=2))
    assert caught.value.message.endswith('conflict with "before-first-apply" using apps/v1: .spec.replicas')
    cluster.apply(deployment(replicas=1), now=T2)
    entries = {entry["manager"]: entry for entry in cluster.entries()}
    assert entries["before-first-apply"]["operation"] == "Update"
    assert "f:replicas" in entries["before-first-apply"]["fieldsV1"]["f:spec"]


def test_status_and_spec_are_reset(cluster: Cluster) -> None:
    config = {**deployment(replicas=1), "status": {"replicas": 9}}
    cluster.apply(config)
    assert cluster.live is not None
    assert "status" not in cluster.live
    assert cluster.fields("alice") == {"f:spec": {"f:replicas": {}}}
    config = {**deployment(replicas=7), "status": {"replicas": 1}}
    cluster.apply(config, "controller", subresource="status", now=T2)
    assert cluster.spec["replicas"] == 1
    assert cluster.fields("controller") == {"f:status": {"f:replicas": {}}}
    assert cluster.entries()[1]["subresource"] == "status"


def test_null_takes_a_field_away_and_claims_it(cluster: Cluster) -> None:
    cluster.apply(deployment(replicas=1))
    cluster.apply(deployment(replicas=None), now=T2)
    assert "replicas" not in cluster.spec
    assert cluster.fields("alice") == {"f:spec": {"f:replicas": {}}}


def test_an_update_takes_a_field_from_the_applier(cluster: Cluster) -> None:
    cluster.apply(with_containers(container(), replicas=1))
    cluster.change("kubectl", replicas=5)
    assert "f:replicas" not in cluster.fields("alice")["f:spec"]
    with pytest.raises(ApiError):
        cluster.apply(with_containers(container(), replicas=1))
    cluster.apply(with_containers(container(image="nginx:2")), now=T3)
    assert cluster.spec["replicas"] == 5
    assert image_of(cluster) == "nginx:2"


def test_refused_configurations(cluster: Cluster) -> None:
    wrong_version = {**deployment(), "apiVersion": "apps/v2"}
    managed = deployment()
    managed["metadata"]["managedFields"] = []
    cases = {
        "Incorrect version specified in apply patch. "
        "Specified patch version: apps/v2, expected: apps/v1": wrong_version,
        "metadata.managedFields must be nil": managed,
        "failed to create typed patch object (default/web; apps/v1, Kind=Deployment): "
        ".spec.spam: field not declared in schema": deployment(spam=1),
        "failed to create typed patch object (default/web; apps/v1, Kind=Deployment): "
        ".spec.template.spec.containers: element 0: associative list with keys has an element that omits key field "
        '"name" (and doesn\'t have default value)': with_containers({"image": "x"}),
        "failed to create typed patch object (default/web; apps/v1, Kind=Deployment): "
        '.spec.template.spec.containers: duplicate entries for key [name="web"]': with_containers(
            container(), container()
        ),
        "failed to create typed patch object (default/web; apps/v1, Kind=Deployment): errors:\n"
        "  .spec.a: field not declared in schema\n  .spec.b: field not declared in schema": deployment(a=1, b=1),
    }
    for message, config in cases.items():
        with pytest.raises(ApiError) as caught:
            cluster.apply(config)
        assert (caught.value.code, caught.value.message) == (400, message)


def test_custom_resources_without_a_schema() -> None:
    cluster = Cluster(None, "example.com/v1")

    def widget(**spec: object) -> dict[str, object]:
        return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}

    cluster.apply(widget(size={"w": 1, "h": 2}, tags=["a"]))
    assert cluster.fields("alice") == {
        "f:spec": {".": {}, "f:size": {".": {}, "f:h": {}, "f:w": {}}, "f:tags": {}},
    }
    cluster.apply(widget(size={"d": 3}), "bob", now=T2)
    cluster.apply(widget(size={"w": 1}), now=T3)
    assert cluster.spec == {"size": {"w": 1, "d": 3}}


def client_side_applied(cluster: Cluster, **spec: Any) -> None:
    """As `kubectl apply` leaves an object: an update, and the configuration in the annotation."""
    config = deployment(**spec)
    created = copied(config)
    created["metadata"]["annotations"] = {ANNOTATION: json.dumps(config)}
    cluster.update(created, "kubectl-client-side-apply", now=T1)


def test_kubectl_goes_server_side_without_conflicts(cluster: Cluster) -> None:
    client_side_applied(cluster, replicas=1, paused=True)
    with pytest.raises(ApiError):
        cluster.apply(deployment(replicas=2), "alice")
    cluster.apply(deployment(replicas=2), "kubectl", now=T2)
    assert cluster.spec == {"replicas": 2, "paused": True}
    assert cluster.live is not None
    annotation = cluster.live["metadata"]["annotations"][ANNOTATION]
    assert annotation.endswith("\n")
    assert json.loads(annotation) == deployment(replicas=2)


def test_kubectl_does_not_overrule_what_others_changed_since(cluster: Cluster) -> None:
    client_side_applied(cluster, replicas=1, paused=True)
    cluster.change("scaler", replicas=5)
    with pytest.raises(ApiError) as caught:
        cluster.apply(deployment(replicas=2, paused=False), "kubectl")
    assert caught.value.message == 'Apply failed with 1 conflict: conflict with "scaler" using apps/v1: .spec.replicas'


@pytest.mark.parametrize("annotation", ["", "{", "[]", '{"apiVersion":"apps/v1beta1"}'])
def test_a_useless_annotation_is_ignored(cluster: Cluster, annotation: str) -> None:
    client_side_applied(cluster, replicas=1)
    assert cluster.live is not None
    cluster.live["metadata"]["annotations"][ANNOTATION] = annotation
    with pytest.raises(ApiError, match="Apply failed with 1 conflict"):
        cluster.apply(deployment(replicas=2), "kubectl")
