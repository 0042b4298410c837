"""Events and autoscalers between their served versions, without loss; scales; field labels."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.types import objects
from tests.unit.types.conftest import Writer
from twinplane.controlplane.api.types import scaling
from twinplane.controlplane.api.types.conversion import convert
from twinplane.controlplane.api.types.registry import Registry
from twinplane.controlplane.api.types.rules import UpstreamRules
from twinplane.kubeclient.contract import Object, Resource

CORE = Resource("", "v1", "events", "Event", True)
EVENTS = Resource("events.k8s.io", "v1", "events", "Event", True)
V1 = Resource("autoscaling", "v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True)
V2 = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", True)


def test_events_rename_their_fields() -> None:
    event: Object = {
        "apiVersion": "v1",
        "involvedObject": {"kind": "Pod"},
        "message": "text",
        "source": {"component": "kubelet"},
        "count": 2,
        "reportingComponent": "kubelet",
        "reason": "Started",
    }
    newer = convert(event, CORE, EVENTS)
    assert newer == {
        "apiVersion": "events.k8s.io/v1",
        "regarding": {"kind": "Pod"},
        "note": "text",
        "deprecatedSource": {"component": "kubelet"},
        "deprecatedCount": 2,
        "reportingController": "kubelet",
        "reason": "Started",
    }
    assert convert(newer, EVENTS, CORE) == event
    assert convert(event, CORE, CORE) is event


def test_a_cpu_target_is_a_field_of_v1() -> None:
    old = {
        "apiVersion": "autoscaling/v1",
        "metadata": {"name": "a"},
        "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50},
        "status": {"currentReplicas": 1, "currentCPUUtilizationPercentage": 10},
    }
    new = convert(old, V1, V2)
    assert new["spec"]["metrics"] == [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
    ]
    assert new["status"]["currentMetrics"][0]["resource"]["current"] == {"averageUtilization": 10}
    again = convert(new, V2, V1)
    again["metadata"].pop("annotations")
    assert again == old


_amounts = st.sampled_from(["10", "500m", "1Gi"])
_average = _amounts.map(lambda value: {"type": "AverageValue", "averageValue": value})
_total = _amounts.map(lambda value: {"type": "Value", "value": value})
_identifier = st.sampled_from([{"name": "queue"}, {"name": "queue", "selector": {"matchLabels": {"a": "b"}}}])
_described = st.just({"apiVersion": "v1", "kind": "Service", "name": "web"})
_metrics = st.one_of(
    st.builds(lambda target: {"type": "Resource", "resource": {"name": "memory", "target": target}}, _average),
    st.builds(
        lambda target: {
            "type": "ContainerResource",
            "containerResource": {"name": "cpu", "container": "a", "target": target},
        },
        _average,
    ),
    st.builds(
        lambda metric, target: {"type": "Pods", "pods": {"metric": metric, "target": target}}, _identifier, _average
    ),
    st.builds(
        lambda metric, target, described: {
            "type": "Object",
            "object": {"metric": metric, "target": target, "describedObject": described},
        },
        _identifier,
        _average | _total,
        _described,
    ),
    st.builds(
        lambda metric, target: {"type": "External", "external": {"metric": metric, "target": target}},
        _identifier,
        _average | _total,
    ),
)


@given(st.lists(_metrics, max_size=3), st.booleans())
def test_nothing_is_lost_on_the_way_through_v1(metrics: list[Object], with_behavior: bool) -> None:
    spec: Object = {"maxReplicas": 3} | ({"metrics": metrics} if metrics else {})
    if with_behavior:
        spec["behavior"] = {"scaleDown": {"stabilizationWindowSeconds": 60}}
    body: Object = {
        "apiVersion": "autoscaling/v2",
        "metadata": {"name": "a", "annotations": {"mine": "kept"}},
        "spec": spec,
        "status": {"desiredReplicas": 1, "conditions": [{"type": "AbleToScale", "status": "True"}]},
    }
    before = copy.deepcopy(body)
    assert convert(convert(body, V2, V1), V1, V2) == before
    assert body == before


def test_annotations_nobody_can_parse_are_ignored() -> None:
    body: Object = {"metadata": {"annotations": {"autoscaling.alpha.kubernetes.io/metrics": "{"}}, "spec": {}}
    assert "metrics" not in convert(body, V1, V2)["spec"]


def test_scales(writer: Writer) -> None:
    deployment, _ = writer.create(objects.DEPLOYMENT)
    deployment["status"] = {"replicas": 2}
    served = writer.type(deployment)
    scale = scaling.to_scale(served, deployment)
    assert scale["kind"] == "Scale"
    assert scale["spec"] == {"replicas": 1}
    assert scale["status"] == {"replicas": 2, "selector": "app=web"}
    scaled = scaling.from_scale(served, deployment, {"spec": {"replicas": 5}})
    assert scaled["spec"]["replicas"] == 5
    assert deployment["spec"]["replicas"] == 1
    controller, _ = writer.create(objects.make("v1", "ReplicationController", spec={"template": objects.TEMPLATE}))
    assert scaling.to_scale(writer.type(controller), controller)["status"]["selector"] == "app=web"


@pytest.mark.parametrize(
    ("group", "plural", "body", "expected"),
    [
        (
            "",
            "pods",
            {"metadata": {"name": "a", "namespace": "b"}, "spec": {"nodeName": "n"}, "status": {"phase": "Running"}},
            {"spec.nodeName": "n", "status.phase": "Running", "status.podIP": "", "spec.hostNetwork": "false"},
        ),
        ("", "nodes", {"metadata": {"name": "a"}, "spec": {"unschedulable": True}}, {"spec.unschedulable": "true"}),
        ("apps", "replicasets", {"metadata": {"name": "a"}}, {"status.replicas": "0"}),
        ("batch", "jobs", {"metadata": {"name": "a"}, "status": {"succeeded": 3}}, {"status.successful": "3"}),
        (
            "",
            "events",
            {"metadata": {"name": "a"}, "involvedObject": {"kind": "Pod"}, "reportingComponent": "c"},
            {"involvedObject.kind": "Pod", "source": "c", "reportingComponent": "c", "reason": ""},
        ),
    ],
)
def test_field_labels(
    *, registry: Registry, rules: UpstreamRules, group: str, plural: str, body: Object, expected: dict[str, str]
) -> None:
    served = registry.lookup(group, "v1", plural)
    assert served is not None
    labels = rules.field_labels(served, body)
    assert labels | expected == labels
    assert labels["metadata.name"] == "a"
