"""`kubectl get`, column by column."""

from __future__ import annotations

from typing import Any

import pytest

from twinplane.clock import from_rfc3339
from twinplane.controlplane.api.types import tables
from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.controlplane.api.types.printing.column import human_duration
from twinplane.controlplane.api.types.registry import Registry
from twinplane.controlplane.api.types.schema import Schema
from twinplane.kubeclient.contract import Object, Resource

NOW = from_rfc3339("2026-11-23T14:00:00Z")
HOUR_AGO = "2026-11-23T13:00:00Z"
META = {"name": "web", "namespace": "default", "creationTimestamp": HOUR_AGO}


def shown(registry: Registry, group: str, version: str, plural: str, **body: Any) -> dict[str, Any]:
    served = registry.lookup(group, version, plural)
    assert served is not None
    names = [column["name"] for column in tables.table_columns(served)]
    return dict(zip(names, tables.table_row(served, {"metadata": META, **body}, NOW), strict=True))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (-0.5, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (599, "9m59s"),
        (601, "10m"),
        (10799, "179m"),
        (10800, "3h"),
        (10860, "3h1m"),
        (28800, "8h"),
        (172799, "47h"),
        (172800, "2d"),
        (176400, "2d1h"),
        (691200, "8d"),
        (63072000, "2y"),
        (63158400, "2y1d"),
        (252288000, "8y"),
        (283824000, "9y"),
    ],
)
def test_ages(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def _running(**more: Any) -> dict[str, Any]:
    return {"name": "web", "ready": True, "restartCount": 0, "state": {"running": {}}, **more}


_INIT = {"containers": [{"name": "web"}], "initContainers": [{"name": "a"}, {"name": "b"}]}
_ONE = {"containers": [{"name": "web"}]}


@pytest.mark.parametrize(
    ("spec", "status", "expected"),
    [
        (_ONE, {"phase": "Pending"}, ("0/1", "Pending", "0")),
        (_ONE, {"phase": "Running", "containerStatuses": [_running()]}, ("1/1", "Running", "0")),
        (
            _ONE,
            {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]},
            ("0/1", "ImagePullBackOff", "0"),
        ),
        (
            _ONE,
            {
                "phase": "Running",
                "containerStatuses": [
                    {
                        "restartCount": 3,
                        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                        "lastState": {"terminated": {"finishedAt": "2026-11-23T13:58:00Z"}},
                    }
                ],
            },
            ("0/1", "CrashLoopBackOff", "3 (2m ago)"),
        ),
        (
            _ONE,
            {"phase": "Succeeded", "containerStatuses": [{"state": {"terminated": {"reason": "Completed"}}}]},
            ("0/1", "Completed", "0"),
        ),
        (
            _ONE,
            {"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]},
            ("0/1", "ExitCode:3", "0"),
        ),
        (_ONE, {"phase": "Failed", "reason": "Evicted"}, ("0/1", "Evicted", "0")),
        (
            _INIT,
            {
                "phase": "Pending",
                "initContainerStatuses": [
                    {"name": "a", "state": {"terminated": {"exitCode": 0}}},
                    {"name": "b", "state": {"running": {}}},
                ],
            },
            ("0/1", "Init:1/2", "0"),
        ),
        (
            _INIT,
            {"phase": "Pending", "initContainerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 1}}}]},
            ("0/1", "Init:ExitCode:1", "0"),
        ),
        (
            _INIT,
            {
                "phase": "Pending",
                "initContainerStatuses": [
                    {"name": "a", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
                ],
            },
            ("0/1", "Init:CrashLoopBackOff", "3"),
        ),
        (
            _ONE,
            {"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]},
            ("0/1", "SchedulingGated", "0"),
        ),
        (
            {"containers": [{"name": "web"}], "initContainers": [{"name": "side", "restartPolicy": "Always"}]},
            {
                "phase": "Running",
                "initContainerStatuses": [{"name": "side", "ready": True, "started": True, "state": {"running": {}}}],
                "containerStatuses": [_running()],
            },
            ("2/2", "Running", "0"),
        ),
    ],
)
def test_pods(registry: Registry, spec: Any, status: Any, expected: tuple[str, str, str]) -> None:
    row = shown(registry, "", "v1", "pods", spec=spec, status=status)
    assert (row["Ready"], row["Status"], row["Restarts"]) == expected
    assert row["Age"] == "60m"
    assert row["Node"] == "<none>"


def test_a_pod_that_goes_is_terminating(registry: Registry) -> None:
    metadata = META | {"deletionTimestamp": "2026-11-23T13:59:00Z"}
    body = {"metadata": metadata, "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.5"}]}}
    row = shown(registry, "", "v1", "pods", **body)
    assert row["Status"] == "Terminating"
    assert row["IP"] == "10.0.0.5"


@pytest.mark.parametrize(
    ("where", "body", "expected"),
    [
        (
            ("apps", "v1", "deployments"),
            {
                "spec": {
                    "replicas": 3,
                    "selector": {"matchLabels": {"app": "web"}},
                    "template": {"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]}},
                },
                "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 2},
            },
            ["web", "2/3", 3, 2, "60m", "a,b", "x,y", "app=web"],
        ),
        (
            ("", "v1", "services"),
            {
                "spec": {
                    "type": "LoadBalancer",
                    "clusterIPs": ["10.100.0.1"],
                    "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}],
                    "selector": {"app": "web"},
                },
                "status": {"loadBalancer": {"ingress": [{"hostname": "a.elb.us-west-2.amazonaws.com"}]}},
            },
            ["web", "LoadBalancer", "10.100.0.1", "a.elb.us-west-2.amazonaws.com", "80:30080/TCP", "60m", "app=web"],
        ),
        (
            ("", "v1", "services"),
            {"spec": {"type": "ClusterIP", "clusterIP": "None"}},
            ["web", "ClusterIP", "None", "<none>", "<none>", "60m", "<none>"],
        ),
        (
            ("", "v1", "nodes"),
            {
                "metadata": META | {"labels": {"node-role.kubernetes.io/worker": ""}},
                "spec": {"unschedulable": True},
                "status": {
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                    "nodeInfo": {"kubeletVersion": "v1.36.0-eks", "osImage": "Amazon Linux 2023"},
                },
            },
            [
                *("web", "Ready,SchedulingDisabled", "worker", "60m", "v1.36.0-eks", "10.0.0.1", "<none>"),
                *("Amazon Linux 2023", "<unknown>", "<unknown>"),
            ],
        ),
        (
            ("batch", "v1", "jobs"),
            {
                "spec": {"completions": 1},
                "status": {
                    "succeeded": 1,
                    "startTime": HOUR_AGO,
                    "completionTime": "2026-11-23T13:00:07Z",
                    "conditions": [{"type": "Complete", "status": "True"}],
                },
            },
            ["web", "Complete", "1/1", "7s", "60m", "", "", "<none>"],
        ),
        (
            ("autoscaling", "v2", "horizontalpodautoscalers"),
            {
                "spec": {
                    "scaleTargetRef": {"kind": "Deployment", "name": "web"},
                    "minReplicas": 1,
                    "maxReplicas": 5,
                    "metrics": [
                        {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 50}}},
                        {"type": "Resource", "resource": {"name": "memory", "target": {"averageValue": "1Gi"}}},
                    ],
                },
                "status": {
                    "currentReplicas": 2,
                    "currentMetrics": [
                        {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 10}}}
                    ],
                },
            },
            ["web", "Deployment/web", "cpu: 10%/50%, memory: <unknown>/1Gi", "1", 5, 2, "60m"],
        ),
        (
            ("", "v1", "events"),
            {
                "type": "Normal",
                "reason": "Started",
                "message": "Started container\n",
                "involvedObject": {"kind": "Pod", "name": "web"},
                "lastTimestamp": "2026-11-23T13:59:30Z",
                "firstTimestamp": HOUR_AGO,
                "count": 4,
                "source": {"component": "kubelet", "host": "n"},
            },
            ["30s", "Normal", "Started", "pod/web", "", "kubelet, n", "Started container", "60m", 4, "web"],
        ),
        (
            ("networking.k8s.io", "v1", "ingresses"),
            {
                "spec": {"ingressClassName": "alb", "rules": [{"host": "a"}, {"host": "b"}]},
                "status": {"loadBalancer": {"ingress": [{"hostname": "x.elb"}]}},
            },
            ["web", "alb", "a,b", "x.elb", "80", "60m"],
        ),
        (
            ("", "v1", "persistentvolumeclaims"),
            {
                "spec": {"volumeName": "pv", "storageClassName": "gp3", "volumeMode": "Filesystem"},
                "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]},
            },
            ["web", "Bound", "pv", "1Gi", "RWO", "gp3", "<unset>", "60m", "Filesystem"],
        ),
        (
            ("rbac.authorization.k8s.io", "v1", "clusterrolebindings"),
            {
                "roleRef": {"kind": "ClusterRole", "name": "admin"},
                "subjects": [
                    {"kind": "User", "name": "u"},
                    {"kind": "Group", "name": "g"},
                    {"kind": "ServiceAccount", "namespace": "n", "name": "s"},
                ],
            },
            ["web", "ClusterRole/admin", "60m", "u", "g", "n/s"],
        ),
        (("rbac.authorization.k8s.io", "v1", "clusterroles"), {}, ["web", HOUR_AGO]),
        (
            ("storage.k8s.io", "v1", "storageclasses"),
            {
                "metadata": META | {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
                "provisioner": "ebs.csi.aws.com",
                "volumeBindingMode": "WaitForFirstConsumer",
            },
            ["web (default)", "ebs.csi.aws.com", "Delete", "WaitForFirstConsumer", "false", "60m"],
        ),
        (
            ("", "v1", "endpoints"),
            {"subsets": [{"addresses": [{"ip": f"10.0.0.{n}"} for n in range(5)], "ports": [{"port": 80}]}]},
            ["web", "10.0.0.0:80,10.0.0.1:80,10.0.0.2:80 + 2 more...", "60m"],
        ),
    ],
    ids=lambda value: value[2] if isinstance(value, tuple) else "",
)
def test_rows(registry: Registry, where: tuple[str, str, str], body: Object, expected: list[Any]) -> None:
    assert list(shown(registry, *where, **body).values()) == expected


def test_a_table_carries_what_was_asked_for(registry: Registry) -> None:
    served = registry.lookup("", "v1", "configmaps")
    assert served is not None
    body: Object = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": META, "data": {"a": "b"}}
    table = tables.render(served, [body], NOW)
    assert table["kind"] == "Table"
    assert table["apiVersion"] == "meta.k8s.io/v1"
    assert table["columnDefinitions"][0]["format"] == "name"
    assert table["rows"] == [
        {
            "cells": ["web", 1, "60m"],
            "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": META},
        }
    ]
    assert tables.render(served, [body], NOW, "Object")["rows"][0]["object"] is body
    assert "object" not in tables.render(served, [body], NOW, "None")["rows"][0]


def test_custom_resources_have_the_columns_of_their_definition() -> None:
    resource = Resource("example.com", "v1", "widgets", "Widget", True)
    columns = [
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
        {"name": "Since", "type": "date", "jsonPath": ".metadata.creationTimestamp", "priority": 1},
        {"name": "Label", "type": "string", "jsonPath": r".metadata.labels.example\.com"},
        {"name": "Hosts", "type": "string", "jsonPath": ".spec.hosts[*]"},
        {"name": "First", "type": "string", "jsonPath": ".spec.hosts[0]"},
    ]
    served = ResourceType(resource, "widget", Schema({"type": "object"}, {}), extra={"printer_columns": columns})
    body: Object = {
        "metadata": META | {"labels": {"example.com": "yes"}},
        "spec": {"size": 3, "hosts": ["a", "b"]},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    assert tables.table_row(served, body, NOW) == ["web", 3, "True", "60m", "yes", "a,b", "a"]
    assert tables.table_row(served, {"metadata": META}, NOW) == ["web", None, None, "60m", None, None, None]
    bare = ResourceType(resource, "widget", Schema({"type": "object"}, {}))
    assert tables.table_row(bare, body, NOW) == ["web", "60m"]
