"""What an update may touch and what it may not: strategy and immutability together."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.types import objects
from tests.unit.types.conftest import Change, Writer
from twinplane.controlplane.api.types.strategy.equality import same
from twinplane.controlplane.api.types.strategy.pods import qos_class


def test_the_generation_counts_changes_of_the_spec_alone(writer: Writer, changed: Change) -> None:
    old, _ = writer.create(objects.DEPLOYMENT)
    assert old["metadata"]["generation"] == 1
    assert writer.update(old, changed(old, "metadata.labels", {"a": "b"}))[0]["metadata"]["generation"] == 1
    assert writer.update(old, changed(old, "spec.replicas", 3))[0]["metadata"]["generation"] == 2
    assert writer.update(old, changed(old, "metadata.annotations", {"a": "b"}))[0]["metadata"]["generation"] == 2
    status = changed(old, "status", {"replicas": 1})
    assert writer.update(old, status, "status")[0]["metadata"]["generation"] == 1


def test_an_update_that_leaves_defaults_out_changes_nothing(writer: Writer) -> None:
    old, _ = writer.create(objects.DEPLOYMENT)
    body = objects.DEPLOYMENT | {"metadata": dict(old["metadata"])}
    new, errors = writer.update(old, body)
    assert errors == []
    assert new == old


def test_main_and_status_keep_to_their_halves(writer: Writer, changed: Change) -> None:
    old, _ = writer.create(objects.DEPLOYMENT)
    both = changed(changed(old, "spec.replicas", 7), "status.replicas", 7)
    main, _ = writer.update(old, both)
    assert main["status"] == {}
    status, _ = writer.update(old, changed(both, "metadata.labels", {"x": "y"}), "status")
    assert status["spec"] == old["spec"]
    assert status["status"] == {"replicas": 7}
    assert "labels" not in status["metadata"]


def test_a_create_starts_with_an_empty_status_except_for_nodes(writer: Writer) -> None:
    pod, _ = writer.create(objects.POD | {"status": {"phase": "Running", "podIP": "10.0.0.1"}})
    assert pod["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    node = objects.make("v1", "Node", status={"capacity": {"cpu": "2"}})
    assert writer.create(node)[0]["status"] == {"capacity": {"cpu": "2"}, "allocatable": {"cpu": "2"}}


def test_match_label_keys_join_the_selectors_of_a_new_pod(writer: Writer) -> None:
    def term(**fields: Any) -> dict[str, Any]:
        return {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}, **fields}

    spread = term(maxSkew=1, whenUnsatisfiable="DoNotSchedule", matchLabelKeys=["hash", "absent"])
    apart = {"requiredDuringSchedulingIgnoredDuringExecution": [term(mismatchLabelKeys=["hash"])]}
    near = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term()}]}
    affinity = {"podAntiAffinity": apart, "podAffinity": near}
    spec = objects.POD["spec"] | {"topologySpreadConstraints": [spread], "affinity": affinity}
    metadata = {"name": "web", "labels": {"app": "web", "hash": "x"}}
    pod, errors = writer.create(objects.POD | {"metadata": metadata, "spec": spec})
    assert errors == []
    own = {"key": "hash", "values": ["x"]}
    made = pod["spec"]["topologySpreadConstraints"][0]["labelSelector"]
    assert made == {"matchLabels": {"app": "web"}, "matchExpressions": [{**own, "operator": "In"}]}
    made = pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0]
    assert made["labelSelector"]["matchExpressions"] == [{**own, "operator": "NotIn"}]
    made = pod["spec"]["affinity"]["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]
    assert made["podAffinityTerm"]["labelSelector"] == {"matchLabels": {"app": "web"}}


def test_fields_of_features_that_are_off_are_dropped(writer: Writer) -> None:
    pod, errors = writer.create(
        objects.POD | {"spec": objects.POD["spec"] | {"schedulingGroup": {"podGroupName": "g"}}}
    )
    assert errors == []
    assert "schedulingGroup" not in pod["spec"]


def test_system_metadata_stays(writer: Writer) -> None:
    old, _ = writer.create(objects.POD)
    old["metadata"]["creationTimestamp"] = "2026-11-23T13:00:00Z"
    body = objects.POD | {"metadata": {"name": "web", "namespace": "default", "uid": old["metadata"]["uid"]}}
    assert writer.update(old, body)[0]["metadata"] == old["metadata"]


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("spec.containers.0.image", "nginx:1.28", None),
        ("spec.tolerations", [{"key": "a", "operator": "Exists"}], None),
        ("spec.hostNetwork", False, None),
        ("metadata.labels", {"a": "b"}, None),
        (
            "spec.containers.0.name",
            "other",
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,",
        ),
        ("spec.nodeName", "n", "spec: Forbidden: pod updates may not change fields other than"),
        ("spec.containers", [], "spec.containers: Required value"),
        ("metadata.name", "other", 'metadata.name: Invalid value: "other": field is immutable'),
    ],
)
def test_pod_updates(writer: Writer, changed: Change, path: str, value: Any, expected: str | None) -> None:
    old, _ = writer.create(objects.POD)
    _, errors = writer.update(old, changed(old, path, value))
    if expected is None:
        assert errors == []
    else:
        assert errors[0].startswith(expected)


def test_tolerations_are_only_added(writer: Writer, changed: Change) -> None:
    old, _ = writer.create(changed(objects.POD, "spec.tolerations", [{"key": "a", "operator": "Exists"}]))
    _, errors = writer.update(old, changed(old, "spec.tolerations", []))
    assert errors == [
        "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
    ]


def test_gated_pods_may_still_be_steered(writer: Writer, changed: Change) -> None:
    old, _ = writer.create(changed(objects.POD, "spec.schedulingGates", [{"name": "example.com/wait"}]))
    (condition,) = old["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"], condition["message"]) == (
        "PodScheduled",
        "False",
        "SchedulingGated",
        "Scheduling is blocked due to non-empty scheduling gates",
    )
    new = changed(changed(old, "spec.schedulingGates", ...), "spec.nodeSelector", {"zone": "a"})
    assert writer.update(old, new)[1] == []
    _, errors = writer.update(old, changed(old, "spec.schedulingGates", [{"name": "example.com/other"}]))
    assert "only deletion is allowed, but found new scheduling gate 'example.com/other'" in errors[0]


def test_ephemeral_containers_come_by_their_subresource(writer: Writer, changed: Change) -> None:
    old, _ = writer.create(objects.POD)
    with_debug = changed(old, "spec.ephemeralContainers", [{"name": "debug", "image": "busybox"}])
    new, errors = writer.update(old, changed(with_debug, "spec.nodeName", "n"), "ephemeralcontainers")
    assert errors == []
    assert new["spec"]["ephemeralContainers"][0]["name"] == "debug"
    assert new["metadata"]["generation"] == old["metadata"]["generation"] + 1
    assert "nodeName" not in new["spec"]
    _, errors = writer.update(new, old, "ephemeralcontainers")
    assert errors == ['spec.ephemeralContainers: Forbidden: existing ephemeral containers "debug" may not be removed\n']


def test_resizing(writer: Writer, changed: Change) -> None:
    resources = {"requests": {"cpu": "1"}}
    old, _ = writer.create(changed(objects.POD, "spec.containers.0.resources", resources))
    larger, errors = writer.update(
        old, changed(old, "spec.containers.0.resources", {"requests": {"cpu": "2"}}), "resize"
    )
    assert errors == []
    assert larger["spec"]["containers"][0]["resources"] == {"requests": {"cpu": "2"}}
    _, errors = writer.update(old, changed(old, "spec.containers.0.resources", {}), "resize")
    assert errors == ['spec: Invalid value: "BestEffort": Pod QOS Class may not change as a result of resizing']


@pytest.mark.parametrize(
    ("body", "path", "value", "expected"),
    [
        (
            objects.DEPLOYMENT,
            "spec.selector.matchLabels",
            {"app": "web", "b": "c"},
            'spec.selector: Invalid value: {"matchLabels":{"app":"web","b":"c"}}: field is immutable',
        ),
        (objects.STATEFUL_SET, "spec.serviceName", "other", "spec: Forbidden: updates to statefulset spec for fields"),
        (objects.STATEFUL_SET, "spec.replicas", 5, None),
        (objects.JOB, "spec.parallelism", 2, None),
        (objects.JOB, "spec.completions", 3, "spec.completions: Invalid value: 3: field is immutable"),
        (objects.JOB, "spec.template.spec.containers.0.image", "other", "spec.template: Invalid value:"),
        (
            objects.CLAIM,
            "spec.accessModes",
            ["ReadWriteMany"],
            "spec: Forbidden: spec is immutable after creation except",
        ),
        (objects.CLAIM, "spec.volumeName", "pv-1", None),
        (objects.ROLE_BINDING, "roleRef.name", "writer", "roleRef: Invalid value: {"),
        (
            objects.make("scheduling.k8s.io/v1", "PriorityClass", "high", value=1),
            "value",
            2,
            "value: Forbidden: may not be changed in an update.",
        ),
        (
            objects.make("storage.k8s.io/v1", "StorageClass", provisioner="a"),
            "provisioner",
            "b",
            "provisioner: Forbidden: updates to provisioner are forbidden.",
        ),
        (
            objects.make("v1", "ConfigMap", immutable=True, data={"a": "b"}),
            "data",
            {"a": "c"},
            "data: Forbidden: field is immutable when `immutable` is set",
        ),
        (objects.make("v1", "Secret"), "type", "kubernetes.io/basic-auth", "data[username]: Required value"),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) and "kind" in value else "",
)
def test_immutable_fields(
    *, writer: Writer, changed: Change, body: Any, path: str, value: Any, expected: str | None
) -> None:
    old, errors = writer.create(body)
    assert errors == []
    _, errors = writer.update(old, changed(old, path, value))
    if expected is None:
        assert errors == []
    else:
        assert any(error.startswith(expected) for error in errors)


def test_finalizers_are_not_added_to_what_goes(writer: Writer, changed: Change) -> None:
    old, _ = writer.create(objects.POD)
    old["metadata"]["deletionTimestamp"] = "2026-11-23T13:00:00Z"
    _, errors = writer.update(old, changed(old, "metadata.finalizers", ["example.com/a"]))
    assert errors == [
        (
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new "
            'finalizers []string{"example.com/a"}'
        )
    ]


def test_services_keep_what_was_allocated(writer: Writer, changed: Change) -> None:
    body = changed(objects.SERVICE, "spec.type", "LoadBalancer")
    old, _ = writer.create(body)
    old["spec"] |= {"clusterIP": "10.100.0.7", "clusterIPs": ["10.100.0.7"]}
    old["spec"]["ports"][0]["nodePort"] = 31000
    body["metadata"] = dict(old["metadata"])
    kept, errors = writer.update(old, body)
    assert errors == []
    assert kept["spec"] == old["spec"]
    plain, errors = writer.update(old, changed(old, "spec.type", "ClusterIP"))
    assert errors == []
    assert "nodePort" not in plain["spec"]["ports"][0]
    assert not plain["spec"].keys() & {"allocateLoadBalancerNodePorts", "externalTrafficPolicy"}
    moved = changed(changed(old, "spec.clusterIP", "10.100.0.8"), "spec.clusterIPs", ["10.100.0.8"])
    assert writer.update(old, moved)[1] == [
        'spec.clusterIPs[0]: Invalid value: ["10.100.0.8"]: may not change once set'
    ]


def test_namespaces_go_through_finalize(writer: Writer, changed: Change) -> None:
    old, _ = writer.create(objects.make("v1", "Namespace", "shop"))
    assert old["spec"] == {"finalizers": ["kubernetes"]}
    assert old["status"] == {"phase": "Active"}
    emptied = changed(old, "spec.finalizers", [])
    assert writer.update(old, emptied)[0]["spec"] == {"finalizers": ["kubernetes"]}
    assert writer.update(old, emptied, "finalize")[0]["spec"] == {}


def test_jobs_get_a_selector_of_their_own(writer: Writer, changed: Change) -> None:
    job, errors = writer.create(objects.JOB)
    uid = job["metadata"]["uid"]
    assert errors == []
    assert job["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    assert job["spec"]["template"]["metadata"]["labels"] == {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": "web",
        "controller-uid": uid,
        "job-name": "web",
    }


def test_certificate_requests_are_approved_and_signed_apart(writer: Writer, changed: Change) -> None:
    [body] = [body for body in objects.VALID if body["kind"] == "CertificateSigningRequest"]
    old, _ = writer.create(body)
    conditions = [{"type": "Approved", "status": "True"}, {"type": "Failed", "status": "True"}]
    status = changed(old, "status", {"conditions": conditions, "certificate": "YQ=="})
    assert writer.update(old, status, "approval")[0]["status"] == {"conditions": conditions}
    assert writer.update(old, status, "status")[0]["status"] == {"conditions": conditions[1:], "certificate": "YQ=="}


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ([{}], "BestEffort"),
        ([{"requests": {"cpu": "1"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}], "Guaranteed"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}], "Burstable"),
        ([{"limits": {"cpu": "1", "memory": "1Gi"}}, {}], "Burstable"),
        ([{"requests": {"example.com/gpu": "1"}}], "BestEffort"),
    ],
)
def test_quality_of_service(resources: list[dict[str, Any]], expected: str) -> None:
    assert qos_class({"containers": [{"resources": entry} for entry in resources]}) == expected


def test_missing_fields_equal_their_zero_values() -> None:
    assert same({"a": False, "b": []}, {})
    assert same({"a": {"b": ""}}, {"a": None})
    assert not same({"a": 1}, {})
    assert not same([1], [1, 2])
