"""The node authorizer: edges from a node to what its pods name, the words of every refusal, and how long it takes."""

from __future__ import annotations

import timeit
from typing import Any

import pytest

from tests.unit.auth.fakes import Cluster, named
from twinplane.controlplane.api.objects.collection import Collection
from twinplane.controlplane.api.objects.entry import Entry, Facts
from twinplane.controlplane.api.objects.selection import Selection
from twinplane.controlplane.auth.contract import Attributes, UserInfo
from twinplane.controlplane.auth.node import NodeAuthorizer
from twinplane.controlplane.auth.node_references import pod_references, references
from twinplane.controlplane.store.contract import Record
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.resources import (
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    RESOURCE_SLICES,
    VOLUME_ATTACHMENTS,
)

VOLUMES: list[Object] = [
    {"name": "a", "secret": {"secretName": "tls"}},
    {"name": "b", "persistentVolumeClaim": {"claimName": "data"}},
    {"name": "c", "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}, {"secret": {"name": "p"}}]}},
    {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}},
    {"name": "d", "csi": {"driver": "x", "nodePublishSecretRef": {"name": "publish"}}},
    {"name": "e", "cephfs": {"secretRef": {"name": "ceph"}}},
]
CONTAINER: Object = {
    "name": "c",
    "env": [{"name": "x", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "k"}}}],
    "envFrom": [{"secretRef": {"name": "environment"}}],
}
SPEC: Object = {
    "nodeName": "n1",
    "serviceAccountName": "builder",
    "imagePullSecrets": [{"name": "pull"}],
    "volumes": VOLUMES,
    "containers": [CONTAINER],
    "resourceClaims": [{"name": "gpu", "resourceClaimName": "gpus"}, {"name": "t", "resourceClaimTemplateName": "t"}],
}
STATUS: Object = {"resourceClaimStatuses": [{"name": "t", "resourceClaimName": "web-t-x"}]}
CSI: Object = {
    "driver": "x",
    "nodeStageSecretRef": {"namespace": "storage", "name": "stage"},
    "controllerPublishSecretRef": {"namespace": "storage", "name": "controller"},
}


def world() -> Cluster:
    claim = {"namespace": "shop", "name": "data"}
    return Cluster(
        (PODS, named("web", "shop", spec=SPEC, status=STATUS)),
        (PODS, named("other", "shop", spec={"nodeName": "n2", "containers": []})),
        (PERSISTENT_VOLUME_CLAIMS, named("data", "shop", spec={"volumeName": "pv-1"})),
        (PERSISTENT_VOLUMES, named("pv-1", spec={"claimRef": claim, "csi": CSI})),
        (PERSISTENT_VOLUMES, named("pv-2", spec={})),
        (VOLUME_ATTACHMENTS, named("va-1", spec={"nodeName": "n1"})),
        (RESOURCE_SLICES, named("slice-1", spec={"nodeName": "n1"})),
    )


def asked(
    verb: str, resource: str, name: str = "", namespace: str = "shop", *, node: str = "n1", fields: str = ""
) -> Attributes:
    kubelet = UserInfo(f"system:node:{node}", ("system:nodes",))
    group, _, plural = resource.rpartition(":")
    plural, _, subresource = plural.partition("/")
    return Attributes(
        kubelet,
        verb,
        group,
        "v1",
        plural,
        subresource=subresource,
        namespace=namespace,
        name=name,
        field_selector=fields,
    )


@pytest.mark.parametrize(
    ("verb", "resource", "name", "namespace"),
    [
        *(("get", "secrets", name, "shop") for name in ("tls", "p", "publish", "ceph", "environment", "pull")),
        ("get", "secrets", "stage", "storage"),
        ("list", "secrets", "tls", "shop"),
        ("watch", "configmaps", "settings", "shop"),
        ("get", "configmaps", "kube-root-ca.crt", "shop"),
        ("get", "persistentvolumeclaims", "data", "shop"),
        ("get", "persistentvolumeclaims", "web-scratch", "shop"),
        ("patch", "persistentvolumeclaims/status", "data", "shop"),
        ("get", "persistentvolumes", "pv-1", ""),
        ("get", "storage.k8s.io:volumeattachments", "va-1", ""),
        ("get", "resource.k8s.io:resourceclaims", "gpus", "shop"),
        ("get", "resource.k8s.io:resourceclaims", "web-t-x", "shop"),
        ("update", "resource.k8s.io:resourceslices", "slice-1", ""),
        ("create", "serviceaccounts/token", "builder", "shop"),
        ("get", "serviceaccounts", "builder", "shop"),
        ("get", "pods", "web", "shop"),
        ("watch", "pods", "web", "shop"),
    ],
)
def test_a_node_reaches_what_its_pods_name_and_no_other_node_does(
    verb: str, resource: str, name: str, namespace: str
) -> None:
    authorizer = NodeAuthorizer(world().reader)
    assert authorizer.authorize(asked(verb, resource, name, namespace)).allowed
    refused = authorizer.authorize(asked(verb, resource, name, namespace, node="n2"))
    assert not refused.allowed
    assert refused.reason == "no relationship found between node 'n2' and this object"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("get", "secrets", "other"), "no relationship found between node 'n1' and this object"),
        (("get", "secrets", "tls", "default"), "no relationship found between node 'n1' and this object"),
        (("get", "secrets", "controller", "storage"), "no relationship found between node 'n1' and this object"),
        (("get", "persistentvolumes", "pv-2", ""), "no relationship found between node 'n1' and this object"),
        (("list", "secrets"), "No Object name found"),
        (("delete", "secrets", "tls"), "can only read resources of this type"),
        (("get", "secrets", "tls", ""), "can only read namespaced object of this type"),
        (("get", "configmaps/x", "settings"), "cannot read subresource"),
        (("list", "persistentvolumeclaims"), "can only get individual resources of this type"),
        (("delete", "persistentvolumeclaims/status", "data"), "can only get/update/patch this type"),
        (("get", "persistentvolumes/status", "pv-1", ""), "cannot get subresource"),
        (("create", "serviceaccounts"), "can only create tokens for individual service accounts"),
        (("create", "serviceaccounts", "builder"), "can only create token subresource of serviceaccount"),
        (
            ("list", "coordination.k8s.io:leases", "", "kube-node-lease"),
            "can only get, create, update, patch, or delete a node lease",
        ),
        (
            ("get", "coordination.k8s.io:leases", "n1", "shop"),
            'can only access leases in the "kube-node-lease" system namespace',
        ),
        (
            ("update", "coordination.k8s.io:leases", "n2", "kube-node-lease"),
            "can only access node lease with the same name as the requesting node",
        ),
        (
            ("list", "storage.k8s.io:csinodes", "", ""),
            "can only get, create, update, patch, or delete a CSINode",
        ),
        (
            ("get", "storage.k8s.io:csinodes", "n2", ""),
            "can only access CSINode with the same name as the requesting node",
        ),
        (
            ("list", "resource.k8s.io:resourceslices", "", ""),
            "can only list/watch/deletecollection resourceslices with nodeName field selector",
        ),
        (("list", "nodes", "", ""), "node 'n1' cannot read all nodes, only its own Node object"),
        (("get", "nodes", "n2", ""), "node 'n1' cannot read 'n2', only its own Node object"),
        (("list", "pods", "", ""), "can only list/watch pods with spec.nodeName field selector"),
        (("delete", "nodes", "n1", ""), ""),
        (("delete", "apps:deployments", "x"), ""),
    ],
)
def test_refusals_are_worded_as_upstream_words_them(arguments: tuple[str, ...], reason: str) -> None:
    decision = NodeAuthorizer(world().reader).authorize(asked(*arguments))
    assert not decision.allowed
    assert decision.reason == reason


@pytest.mark.parametrize(
    ("resource", "fields", "allowed"),
    [
        ("pods", "spec.nodeName=n1", True),
        ("pods", "status.phase!=Failed,spec.nodeName=n1", True),
        ("pods", "spec.nodeName=n2", False),
        ("pods", "spec.nodeName!=n1", False),
        ("pods", "nonsense", False),
        ("resource.k8s.io:resourceslices", "spec.nodeName=n1", True),
        ("resource.k8s.io:resourceslices", "spec.nodeName=n2", False),
    ],
)
def test_lists_are_limited_to_the_own_node(resource: str, fields: str, allowed: bool) -> None:
    authorizer = NodeAuthorizer(world().reader)
    for verb in ("list", "watch"):
        assert authorizer.authorize(asked(verb, resource, "", "", fields=fields)).allowed is allowed


def test_what_is_left_to_admission_and_who_is_no_node() -> None:
    authorizer = NodeAuthorizer(world().reader)
    for verb, resource in (
        ("create", "nodes"),
        ("update", "nodes/status"),
        ("patch", "pods/status"),
        ("delete", "pods"),
        ("create", "pods/eviction"),
        ("create", "resource.k8s.io:resourceslices"),
        ("watch", "services"),
        ("create", "events.k8s.io:events"),
    ):
        assert authorizer.authorize(asked(verb, resource, "x")).allowed
    assert authorizer.authorize(asked("get", "secrets", "tls", node="")).reason == (
        'unknown node for user "system:node:"'
    )
    stranger = asked("create", "nodes")._replace(user=UserInfo("system:node:n1", ("system:authenticated",)))
    assert not authorizer.authorize(stranger).allowed


def test_edges_come_and_go_with_pods() -> None:
    cluster = world()
    authorizer = NodeAuthorizer(cluster.reader)

    def may(name: str) -> bool:
        return authorizer.authorize(asked("get", "configmaps", name)).allowed

    assert not may("late")
    ephemeral = {"name": "e", "envFrom": [{"configMapRef": {"name": "late"}}]}
    cluster.put(PODS, named("web", "shop", spec={**SPEC, "ephemeralContainers": [ephemeral]}, status=STATUS))
    assert may("late")
    cluster.remove(PODS, "web", "shop")
    assert not may("late")
    assert not may("settings")


def test_a_mirror_pod_gives_its_node_nothing() -> None:
    pod = named("static", "shop", spec=SPEC)
    pod["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    assert references(pod) == frozenset()
    assert ("secrets", "tls") in set(pod_references(pod))


class IndexedPods:
    """A reader over the server's own index of pods."""

    def __init__(self, pods: int, nodes: int) -> None:
        self.collection = Collection("/registry/core/pods/", 0)
        value = b'{"metadata":{"name":"x"},"spec":{"serviceAccountName":"default","containers":[]}}'
        for number in range(pods):
            record = Record(f"/registry/core/pods/shop/pod-{number}", value, number + 1, 1)
            facts = Facts("u", {}, {"spec.nodeName": f"n{number % nodes}"})
            self.collection.put(Entry(record, "shop", f"pod-{number}", facts))

    def on_node(self, node: str, namespace: str = "") -> list[Entry]:
        return self.collection.select(Selection(namespace, node=node))

    def get(self, resource: Resource, name: str, namespace: str = "") -> Object | None:
        return None

    def labels(self, resource: Resource, name: str, namespace: str = "") -> dict[str, str]:
        return {}

    def list(self, resource: Resource, namespace: str = "") -> Any:
        raise AssertionError("a request must not look at every pod")

    def revision(self, resource: Resource) -> int:
        return self.collection.revision


def test_a_request_costs_the_pods_of_one_node() -> None:
    seconds = []
    for nodes in (20, 400):
        authorizer = NodeAuthorizer(IndexedPods(30 * nodes, nodes))
        request = asked("get", "secrets", "missing")
        assert not authorizer.authorize(request).allowed
        seconds.append(min(timeit.repeat(lambda: authorizer.authorize(request), number=50, repeat=5)))  # noqa: B023
    assert seconds[1] < 5 * seconds[0]
