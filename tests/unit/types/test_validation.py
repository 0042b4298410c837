"""Creates that upstream refuses, in its words."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.types import objects
from tests.unit.types.conftest import Change, Writer
from twinplane.controlplane.api.types.validation import cron, names

SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
WEB = "spec.containers.0"


def refusals(writer: Writer, body: Any) -> list[str]:
    return writer.create(body)[1]


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("metadata.name", "Web", f'metadata.name: Invalid value: "Web": {SUBDOMAIN}'),
        ("metadata.name", "a" * 254, f'metadata.name: Invalid value: "{"a" * 254}": must be no more than 253 bytes'),
        ("metadata.name", "", "metadata.name: Required value: name or generateName is required"),
        (
            "metadata.labels",
            {"a/b/c": "d"},
            (
                'metadata.labels: Invalid value: "a/b/c": a qualified name must consist of alphanumeric characters, '
                "'-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or "
                "'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') "
                "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ),
        ),
        (
            "metadata.annotations",
            {"a": "x" * 262144},
            "metadata.annotations: Too long: may not be more than 262144 bytes",
        ),
        (
            "metadata.ownerReferences",
            [{"apiVersion": "v1", "kind": "Pod", "name": "a"}],
            'metadata.ownerReferences.uid: Invalid value: "": uid must not be empty',
        ),
        ("spec.containers", [], "spec.containers: Required value"),
        (f"{WEB}.name", "A", None),
        (f"{WEB}.image", "", "spec.containers[0].image: Required value"),
        (
            f"{WEB}.imagePullPolicy",
            "Sometimes",
            (
                'spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", '
                '"IfNotPresent", "Never"'
            ),
        ),
        (
            f"{WEB}.ports",
            [{"containerPort": 70000}],
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (f"{WEB}.ports", [{"name": "a"}], "spec.containers[0].ports[0].containerPort: Required value"),
        (
            f"{WEB}.ports",
            [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}],
            'spec.containers[0].ports[1].name: Duplicate value: "a"',
        ),
        (
            f"{WEB}.ports",
            [{"containerPort": 1, "name": "a-name-far-too-long"}],
            'spec.containers[0].ports[0].name: Invalid value: "a-name-far-too-long": must be no more than 15 bytes',
        ),
        (f"{WEB}.env", [{"value": "x"}], "spec.containers[0].env[0].name: Required value"),
        (
            f"{WEB}.env",
            [{"name": "A", "value": "b", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
            'spec.containers[0].env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty',
        ),
        (
            f"{WEB}.volumeMounts",
            [{"name": "data", "mountPath": "/data"}],
            'spec.containers[0].volumeMounts[0].name: Not found: "data"',
        ),
        (
            f"{WEB}.resources",
            {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}},
            'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
        ),
        (
            f"{WEB}.resources",
            {"requests": {"memory": "-1Gi"}},
            'spec.containers[0].resources.requests[memory]: Invalid value: "-1Gi": must be greater than or equal to 0',
        ),
        (
            f"{WEB}.resources",
            {"requests": {"nvidia.com/gpu": "1"}},
            "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources",
        ),
        (f"{WEB}.livenessProbe", {}, "spec.containers[0].livenessProbe: Required value: must specify a handler type"),
        (
            f"{WEB}.livenessProbe",
            {"exec": {"command": ["true"]}, "successThreshold": 2},
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ),
        (
            "spec.initContainers",
            [{"name": "init", "image": "a", "readinessProbe": {"exec": {"command": ["a"]}}}],
            (
                "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without "
                "restartPolicy=Always"
            ),
        ),
        (
            "spec.initContainers",
            [{"name": "web", "image": "a"}],
            'spec.initContainers[0].name: Duplicate value: "web"',
        ),
        (
            "spec.restartPolicy",
            "Maybe",
            'spec.restartPolicy: Unsupported value: "Maybe": supported values: "Always", "Never", "OnFailure"',
        ),
        (
            "spec.volumes",
            [{"name": "a", "emptyDir": {}, "secret": {"secretName": "s"}}],
            "spec.volumes[0].secret: Forbidden: may not specify more than 1 volume type",
        ),
        ("spec.volumes", [{"name": "a"}, {"name": "a"}], 'spec.volumes[1].name: Duplicate value: "a"'),
        (
            "spec.activeDeadlineSeconds",
            0,
            "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
        ),
        (
            "spec.tolerations",
            [{"operator": "Equal", "value": "a"}],
            (
                'spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, '
                'which means "match all values and all keys"'
            ),
        ),
        (
            "spec.topologySpreadConstraints",
            [{"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
        ),
        (
            "spec.affinity",
            {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
            (
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required "
                "value: must have at least one node selector term"
            ),
        ),
        (
            "spec.ephemeralContainers",
            [{"name": "debug", "image": "a"}],
            "spec.ephemeralContainers: Forbidden: cannot be set on create",
        ),
        (
            "spec.dnsPolicy",
            "None",
            (
                "spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` "
                "is None"
            ),
        ),
    ],
)
def test_pods(writer: Writer, changed: Change, path: str, value: Any, expected: str | None) -> None:
    errors = refusals(writer, changed(objects.POD, path, value))
    if expected is None:
        assert len(errors) == 1
    else:
        assert errors == [expected]


@pytest.mark.parametrize(
    ("body", "path", "value", "expected"),
    [
        (
            objects.DEPLOYMENT,
            "spec.replicas",
            -1,
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            objects.DEPLOYMENT,
            "spec.selector.matchLabels",
            {"app": "other"},
            'spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`',
        ),
        (
            objects.DEPLOYMENT,
            "spec.strategy",
            {"type": "Recreate", "rollingUpdate": {}},
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
        ),
        (
            objects.DEPLOYMENT,
            "spec.strategy",
            {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}},
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
        ),
        (
            objects.DEPLOYMENT,
            "spec.template.spec.restartPolicy",
            "Never",
            'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"',
        ),
        (
            objects.JOB,
            "spec.template.spec.restartPolicy",
            "Always",
            'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"',
        ),
        (
            objects.CRONJOB,
            "spec.schedule",
            "* * *",
            'spec.schedule: Invalid value: "* * *": expected exactly 5 fields, found 3: [* * *]',
        ),
        (
            objects.CRONJOB,
            "spec.timeZone",
            "Mars/Olympus",
            'spec.timeZone: Invalid value: "Mars/Olympus": unknown time zone Mars/Olympus',
        ),
        (
            objects.AUTOSCALER,
            "spec.maxReplicas",
            0,
            "spec.maxReplicas: Invalid value: 0: must be greater than 0",
        ),
        (objects.SERVICE, "spec.ports", [], "spec.ports: Required value"),
        (
            objects.SERVICE,
            "spec.ports",
            [{"port": 80}, {"port": 81, "name": "b"}],
            "spec.ports[0].name: Required value",
        ),
        (
            objects.SERVICE,
            "spec.ports",
            [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}],
            'spec.ports[1]: Duplicate value: {"port":80,"protocol":"TCP"}',
        ),
        (
            objects.SERVICE,
            "spec.ports",
            [{"port": 80, "nodePort": 30000}],
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (
            objects.SERVICE,
            "spec.type",
            "Magic",
            (
                'spec.type: Unsupported value: "Magic": supported values: "ClusterIP", "ExternalName", "LoadBalancer", '
                '"NodePort"'
            ),
        ),
        (
            objects.SERVICE,
            "spec.clusterIP",
            "10.0.0",
            (
                'spec.clusterIPs[0]: Invalid value: "10.0.0": must be a valid IP address, (e.g. 10.9.8.7 or '
                "2001:db8::ffff)"
            ),
        ),
        (
            objects.INGRESS,
            "spec.rules.0.http.paths.0.pathType",
            "",
            "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified",
        ),
        (
            objects.INGRESS,
            "spec.rules.0.http.paths.0.path",
            "shop",
            'spec.rules[0].http.paths[0].path: Invalid value: "shop": must be an absolute path',
        ),
        (
            objects.INGRESS,
            "spec.rules.0.host",
            "10.0.0.1",
            'spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address',
        ),
        (
            objects.CLAIM,
            "spec.resources",
            {},
            "spec.resources[storage]: Required value",
        ),
        (
            objects.ROLE_BINDING,
            "roleRef.kind",
            "User",
            'roleRef.kind: Unsupported value: "User": supported values: "ClusterRole", "Role"',
        ),
        (
            objects.DEFINITION,
            "metadata.name",
            "gadgets.example.com",
            'metadata.name: Invalid value: "gadgets.example.com": must be spec.names.plural+"."+spec.group',
        ),
        (
            objects.DEFINITION,
            "spec.versions.0.storage",
            False,
            'spec.versions: Invalid value: ["v1"]: must have exactly one version marked as storage version',
        ),
        (
            objects.make("scheduling.k8s.io/v1", "PriorityClass", "top"),
            "value",
            2_000_000_000,
            "value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
        ),
        (
            objects.make("v1", "ConfigMap"),
            "data",
            {"a/b": "c"},
            (
                "data[a/b]: Invalid value: \"a/b\": a valid config key must consist of alphanumeric characters, '-', "
                "'_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is "
                "'[-._a-zA-Z0-9]+')"
            ),
        ),
        (
            objects.make("v1", "Secret"),
            "data",
            {"a": "QUFB" * 349527},
            "data: Too long: may not be more than 1048576 bytes",
        ),
        (
            objects.make("rbac.authorization.k8s.io/v1", "Role"),
            "rules",
            [{"nonResourceURLs": ["/x"], "verbs": ["get"]}],
            'rules[0].nonResourceURLs: Invalid value: ["/x"]: namespaced rules cannot apply to non-resource URLs',
        ),
        (
            objects.make("networking.k8s.io/v1", "NetworkPolicy", spec={"podSelector": {}}),
            "spec.ingress",
            [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}]}],
            (
                'spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "11.0.0.0/16": must be a strict subset '
                "of `cidr`"
            ),
        ),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) and "kind" in value else "",
)
def test_other_kinds(*, writer: Writer, changed: Change, body: Any, path: str, value: Any, expected: str) -> None:
    assert expected in refusals(writer, changed(body, path, value))


def test_names_by_kind(writer: Writer, changed: Change) -> None:
    assert "a DNS-1035 label" in refusals(writer, changed(objects.SERVICE, "metadata.name", "1web"))[0]
    assert "RFC 1123 label" in refusals(writer, objects.make("v1", "Namespace", "a.b"))[0]
    assert refusals(writer, objects.make("rbac.authorization.k8s.io/v1", "ClusterRole", "system:a:b")) == []
    assert refusals(writer, changed(objects.CRONJOB, "metadata.name", "c" * 53)) == [
        f'metadata.name: Invalid value: "{"c" * 53}": must be no more than 52 characters'
    ]


def test_scope(writer: Writer, changed: Change) -> None:
    body = objects.make("v1", "Node", "n")
    body["metadata"]["namespace"] = "default"
    assert refusals(writer, body) == ["metadata.namespace: Forbidden: not allowed on this type"]


@pytest.mark.parametrize(
    "schedule", ["* * * * *", "*/5 0-6,12 1 jan-mar mon", "@hourly", "@every 1h30m", "0 0 ? * SUN"]
)
def test_good_schedules(schedule: str) -> None:
    assert cron.problems(schedule) == ()


@pytest.mark.parametrize(
    "schedule", ["60 * * * *", "* * 0 * *", "*/0 * * * *", "a * * * *", "@often", "5-1 * * * *", "1-2-3 * * * *"]
)
def test_bad_schedules(schedule: str) -> None:
    assert len(cron.problems(schedule)) == 1


def test_name_checks_know_their_edges() -> None:
    assert names.qualified_name("/a") == ("prefix part must be non-empty",)
    assert names.qualified_name("example.com/")[0] == "name part must be non-empty"
    assert names.label_value("") == ()
    assert names.path_segment("a/b") == ("may not contain '/'",)
    assert names.config_key("..") == ("must not be '..'",)
    assert names.wildcard_subdomain("*.example.com") == ()
    assert names.cidr("10.0.0.0/33")


def test_containers_of_a_stateful_set_mount_its_claims(writer: Writer, changed: Change) -> None:
    mounts = [{"name": "data", "mountPath": "/data"}, {"name": "other", "mountPath": "/other"}]
    body = changed(objects.STATEFUL_SET, "spec.template.spec.containers.0.volumeMounts", mounts)
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    body["spec"]["volumeClaimTemplates"] = [{"metadata": {"name": "data"}, "spec": spec}]
    at = "spec.template.spec.containers[0].volumeMounts[1].name"
    assert refusals(writer, body) == [f'{at}: Not found: "other"']


def test_sysctls(writer: Writer, changed: Change) -> None:
    names = ["foo-", "kernel.shmmax", "safe-and-unsafe", "bar..", "kernel.shmmax", "", "net/ipv4/conf/eth0.1/x"]
    sysctls = [{"name": name, "value": "1"} for name in names]
    errors = refusals(writer, changed(objects.POD, "spec.securityContext", {"sysctls": sysctls}))
    at = "spec.securityContext.sysctls"
    expected = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
    assert errors == [
        f'{at}[0].name: Invalid value: "foo-": must have at most 253 characters and match regex {expected}',
        f'{at}[3].name: Invalid value: "bar..": must have at most 253 characters and match regex {expected}',
        f'{at}[4].name: Duplicate value: "kernel.shmmax"',
        f"{at}[5].name: Required value",
    ]


SPREAD = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
BOTH = "exists in both matchLabelKeys and"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"matchLabelKeys": ["a"]},
            "[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set",
        ),
        (
            {"matchLabelKeys": ["a"], "labelSelector": {"matchLabels": {"a": "b"}}},
            f'[0][0]: Invalid value: "a": {BOTH} labelSelector',
        ),
    ],
)
def test_match_label_keys(writer: Writer, fields: dict[str, Any], expected: str) -> None:
    spec = objects.POD["spec"] | {"topologySpreadConstraints": [SPREAD | fields]}
    body = objects.POD | {"metadata": {"name": "web", "labels": {"a": "b"}}, "spec": spec}
    assert refusals(writer, body) == [f"spec.topologySpreadConstraints{expected}"]


def test_a_key_cannot_both_match_and_mismatch(writer: Writer) -> None:
    term = {"topologyKey": "zone", "labelSelector": {}, "matchLabelKeys": ["a"], "mismatchLabelKeys": ["a"]}
    affinity = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    body = objects.POD | {"spec": objects.POD["spec"] | {"affinity": affinity}}
    at = "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].matchLabelKeys[0]"
    assert refusals(writer, body) == [f'{at}: Invalid value: "a": {BOTH} mismatchLabelKeys']


def test_tolerations_by_comparison_are_off(writer: Writer) -> None:
    body = objects.POD | {"spec": objects.POD["spec"] | {"tolerations": [{"key": "a", "operator": "Gt", "value": "5"}]}}
    supported = '"Equal", "Exists", "Gt", "Lt"'
    assert refusals(writer, body) == [
        f'spec.tolerations[0].operator: Unsupported value: "Gt": supported values: {supported}'
    ]
