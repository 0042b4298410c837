"""Defaults as upstream sets them, wherever a definition occurs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.types import objects
from tests.unit.types.conftest import Change, Writer
from twinplane.controlplane.api.types.defaulting.pods import pull_policy


def test_a_pod_gets_what_upstream_gives_it(writer: Writer) -> None:
    pod, _ = writer.create(objects.POD)
    assert pod["spec"] == {
        "containers": [
            {
                "name": "web",
                "image": "nginx:1.27",
                "imagePullPolicy": "IfNotPresent",
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }
        ],
        "dnsPolicy": "ClusterFirst",
        "enableServiceLinks": True,
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
    }


def test_a_template_is_defaulted_as_a_pod_but_for_links_and_requests(writer: Writer, changed: Change) -> None:
    limits = {"limits": {"cpu": "1"}}
    body = changed(objects.DEPLOYMENT, "spec.template.spec.containers.0.resources", limits)
    deployment, _ = writer.create(body)
    pod_spec = deployment["spec"]["template"]["spec"]
    assert "enableServiceLinks" not in pod_spec
    assert pod_spec["containers"][0]["resources"] == limits
    assert pod_spec["dnsPolicy"] == "ClusterFirst"
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"},
    }
    assert deployment["spec"]["revisionHistoryLimit"] == 10
    assert deployment["spec"]["progressDeadlineSeconds"] == 600


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.27", "IfNotPresent"),
        ("registry:5000/team/app", "Always"),
        ("registry:5000/team/app:v1", "IfNotPresent"),
        ("nginx@sha256:abc", "IfNotPresent"),
        ("nginx:latest@sha256:abc", "Always"),
    ],
)
def test_the_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    assert pull_policy(image) == policy


def test_requests_follow_limits_and_host_ports_follow_the_host_network(writer: Writer, changed: Change) -> None:
    pod = changed(objects.POD, "spec.hostNetwork", True)
    pod["spec"]["containers"][0] |= {
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}},
        "ports": [{"containerPort": 80}],
    }
    container = writer.create(pod)[0]["spec"]["containers"][0]
    assert container["resources"]["requests"] == {"cpu": "500m", "memory": "1Gi"}
    assert container["ports"] == [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        ({}, {"emptyDir": {}}),
        ({"secret": {"secretName": "s"}}, {"secret": {"secretName": "s", "defaultMode": 420}}),
        ({"configMap": {"name": "c"}}, {"configMap": {"name": "c", "defaultMode": 420}}),
        ({"hostPath": {"path": "/x"}}, {"hostPath": {"path": "/x", "type": ""}}),
        (
            {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
            {
                "projected": {
                    "defaultMode": 420,
                    "sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}],
                }
            },
        ),
    ],
)
def test_volume_sources(writer: Writer, changed: Change, volume: dict[str, Any], expected: dict[str, Any]) -> None:
    pod, errors = writer.create(changed(objects.POD, "spec.volumes", [{"name": "v"} | volume]))
    assert errors == []
    assert pod["spec"]["volumes"] == [{"name": "v"} | expected]


def test_probes(writer: Writer, changed: Change) -> None:
    pod, _ = writer.create(changed(objects.POD, "spec.containers.0.livenessProbe", {"httpGet": {"port": 80}}))
    assert pod["spec"]["containers"][0]["livenessProbe"] == {
        "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, {"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"}),
        ({"type": "NodePort"}, {"externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster"}),
        (
            {"type": "LoadBalancer"},
            {"externalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": True},
        ),
        (
            {"sessionAffinity": "ClientIP"},
            {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}},
        ),
    ],
)
def test_services(writer: Writer, spec: dict[str, Any], expected: dict[str, Any]) -> None:
    body = objects.make("v1", "Service", spec={"ports": [{"port": 80}], **spec})
    service, errors = writer.create(body)
    assert errors == []
    assert service["spec"] | expected == service["spec"]
    assert service["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert service["status"] == {"loadBalancer": {}}


def test_an_external_name_has_no_traffic_policies(writer: Writer) -> None:
    body = objects.make("v1", "Service", spec={"type": "ExternalName", "externalName": "db.example.com"})
    service, errors = writer.create(body)
    assert errors == []
    assert service["spec"].keys() == {"type", "externalName", "sessionAffinity"}


def test_secrets_take_texts_and_namespaces_carry_their_name(writer: Writer) -> None:
    secret, _ = writer.create(objects.make("v1", "Secret", stringData={"a": "b"}, data={"c": "ZA=="}))
    assert secret["data"] == {"a": "Yg==", "c": "ZA=="}
    assert "stringData" not in secret
    assert secret["type"] == "Opaque"
    namespace, _ = writer.create(objects.make("v1", "Namespace", "shop"))
    assert namespace["metadata"]["labels"] == {"kubernetes.io/metadata.name": "shop"}


def test_jobs_and_cron_jobs(writer: Writer, changed: Change) -> None:
    spec = writer.create(objects.JOB)[0]["spec"]
    assert {key: spec[key] for key in spec.keys() - {"selector", "template"}} == {
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "completions": 1,
        "parallelism": 1,
        "podReplacementPolicy": "TerminatingOrFailed",
        "suspend": False,
    }
    assert "completions" not in writer.create(changed(objects.JOB, "spec.parallelism", 2))[0]["spec"]
    cron_job = writer.create(objects.CRONJOB)[0]["spec"]
    assert cron_job["concurrencyPolicy"] == "Allow"
    assert cron_job["successfulJobsHistoryLimit"] == 3
    assert "backoffLimit" not in cron_job["jobTemplate"]["spec"]


def test_autoscalers(writer: Writer, changed: Change) -> None:
    body = changed(objects.AUTOSCALER, "spec.behavior", {"scaleDown": {"stabilizationWindowSeconds": 60}})
    spec = writer.create(body)[0]["spec"]
    assert spec["minReplicas"] == 1
    assert spec["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 80}
    assert spec["behavior"]["scaleUp"]["policies"] == [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ]
    assert spec["behavior"]["scaleDown"]["policies"] == [{"type": "Percent", "value": 100, "periodSeconds": 15}]


def test_groups_of_subjects_and_roles(writer: Writer) -> None:
    body = objects.ROLE_BINDING | {"subjects": [{"kind": "Group", "name": "dev"}, objects.ROLE_BINDING["subjects"][0]]}
    binding, errors = writer.create(body)
    assert errors == []
    assert binding["roleRef"]["apiGroup"] == "rbac.authorization.k8s.io"
    assert [subject.get("apiGroup") for subject in binding["subjects"]] == ["rbac.authorization.k8s.io", None]


def test_custom_resource_definitions_and_webhooks(writer: Writer) -> None:
    spec = writer.create(objects.DEFINITION)[0]["spec"]
    assert spec["names"] == {"plural": "widgets", "kind": "Widget", "singular": "widget", "listKind": "WidgetList"}
    assert spec["conversion"] == {"strategy": "None"}
    [body] = [body for body in objects.VALID if body["kind"] == "MutatingWebhookConfiguration"]
    webhook = writer.create(body)[0]["webhooks"][0]
    assert webhook["failurePolicy"] == "Fail"
    assert webhook["timeoutSeconds"] == 10
    assert webhook["reinvocationPolicy"] == "Never"
    assert webhook["clientConfig"]["service"]["port"] == 443
    assert webhook["rules"][0]["scope"] == "*"


def test_limit_ranges_derive_requests_from_limits(writer: Writer) -> None:
    item = {"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "64Mi"}}
    limit = writer.create(objects.make("v1", "LimitRange", spec={"limits": [item]}))[0]["spec"]["limits"][0]
    assert limit["default"] == {"cpu": "2"}
    assert limit["defaultRequest"] == {"cpu": "2", "memory": "64Mi"}


def test_network_policies_name_their_directions(writer: Writer) -> None:
    spec: dict[str, Any] = {"podSelector": {}, "egress": [{}]}
    policy, errors = writer.create(objects.make("networking.k8s.io/v1", "NetworkPolicy", spec=spec))
    assert errors == []
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
