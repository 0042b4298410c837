"""NodeRestriction: what a kubelet may write where the authorizer alone cannot tell, in upstream's words."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.unit.admission.requests import request
from tests.unit.auth.fakes import Cluster, named
from twinplane.controlplane.admission.certificates import CERTIFICATE_SIGNING_REQUESTS
from twinplane.controlplane.admission.node_restriction import NodeRestriction
from twinplane.controlplane.auth.contract import Attributes, Decision, UserInfo
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import (
    CSI_DRIVERS,
    CSI_NODES,
    LEASES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    RESOURCE_SLICES,
    SERVICE_ACCOUNTS,
)

KUBELET = UserInfo("system:node:n1", ("system:nodes", "system:authenticated"))
TOKEN_VOLUME = {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"audience": "vault", "path": "t"}}]}}
API_VOLUME = {"name": "a", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}
VOLUMES = [
    TOKEN_VOLUME,
    API_VOLUME,
    {"name": "i", "csi": {"driver": "inline"}},
    {"name": "d", "persistentVolumeClaim": {"claimName": "data"}},
]


class Grants:
    """An authorizer that allows what it is told to."""

    def __init__(self, *audiences: str) -> None:
        self.audiences = audiences

    def authorize(self, attributes: Attributes) -> Decision:
        assert attributes.verb == "request-serviceaccounts-token-audience"
        return Decision(attributes.resource in self.audiences)


def world() -> Cluster:
    return Cluster(
        (NODES, named("n1")),
        (PODS, named("mine", "shop", spec={"nodeName": "n1", "volumes": VOLUMES})),
        (PODS, named("theirs", "shop", spec={"nodeName": "n2"})),
        (PERSISTENT_VOLUME_CLAIMS, named("data", "shop", spec={"volumeName": "pv"})),
        (PERSISTENT_VOLUMES, named("pv", spec={"csi": {"driver": "disks"}})),
        (CSI_DRIVERS, named("inline", spec={"tokenRequests": [{"audience": "inline-audience"}]})),
        (CSI_DRIVERS, named("disks", spec={"tokenRequests": [{"audience": "disk-audience"}]})),
    )


async def verdict(
    resource: Resource,
    body: Object | None,
    *,
    old: Object | None = None,
    cluster: Cluster | None = None,
    audiences: tuple[str, ...] = (),
    **options: Any,
) -> str:
    """The reason of a refusal; empty when it is let through."""
    plugin = NodeRestriction((cluster or world()).reader, Grants(*audiences))
    asked = request(resource, body, old=old, user=KUBELET, **options)
    assert plugin.handles(asked)
    try:
        await plugin.admit(asked)
    except ApiError as error:
        return error.message.partition(" is forbidden: ")[2] or error.message
    return ""


def node(labels: dict[str, str] | None = None, **spec: Any) -> Object:
    return {"metadata": {"name": "n1", "labels": labels or {}}, "spec": spec}


@pytest.mark.parametrize(
    ("body", "old", "reason"),
    [
        (node(), None, ""),
        (named("n2"), None, 'node "n1" is not allowed to modify node "n2"'),
        (
            node({"node-restriction.kubernetes.io/x": "y", "a.k8s.io/b": "c", "eks.amazonaws.com/nodegroup": "g"}),
            None,
            'node "n1" is not allowed to set the following labels: a.k8s.io/b, node-restriction.kubernetes.io/x',
        ),
        (node({"topology.kubernetes.io/zone": "a", "node.kubernetes.io/x": "y", "own": "z"}), None, ""),
        (
            node(configSource={}),
            None,
            'node "n1" is not allowed to create pods with a non-nil configSource',
        ),
        (node({"x.kubernetes.io/y": "1"}), node(), "is not allowed to modify labels: x.kubernetes.io/y"),
        (
            node(),
            {"metadata": {"name": "n1", "ownerReferences": [{"name": "x"}]}},
            'node "n1" is not allowed to modify ownerReferences',
        ),
        (
            node(),
            node(taints=[{"key": "a", "effect": "NoSchedule"}]),
            'node "n1" is not allowed to modify taints',
        ),
        (
            node(configSource={"a": 1}),
            node(),
            'node "n1" is not allowed to update configSource to a new non-nil configSource',
        ),
    ],
)
async def test_its_own_node(body: Object, old: Object | None, reason: str) -> None:
    assert await verdict(NODES, body, old=old) == reason


async def test_what_bears_its_name() -> None:
    lease = "can only access node lease with the same name as the requesting node"
    assert await verdict(LEASES, named("n1", "kube-node-lease")) == ""
    assert await verdict(LEASES, named("n2", "kube-node-lease")) == lease
    assert await verdict(LEASES, named("n1", "shop")) == (
        'can only access leases in the "kube-node-lease" system namespace'
    )
    assert await verdict(CSI_NODES, named("n2")) == "can only access CSINode with the same name as the requesting node"
    other = named("s", spec={"nodeName": "n2"})
    assert await verdict(RESOURCE_SLICES, named("s", spec={"nodeName": "n1"})) == ""
    assert await verdict(RESOURCE_SLICES, other) == (
        "can only create ResourceSlice with the same NodeName as the requesting node"
    )
    assert await verdict(RESOURCE_SLICES, None, old=other) == (
        "can only delete ResourceSlice with the same NodeName as the requesting node"
    )


def mirror(**metadata: Any) -> Object:
    owner = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "uid-1", "controller": True}
    fields = {"annotations": {"kubernetes.io/config.mirror": "x"}, "ownerReferences": [owner], **metadata}
    return {"metadata": {"name": "static", "namespace": "shop", **fields}, "spec": {"nodeName": "n1"}}


def with_spec(**spec: Any) -> Object:
    body = mirror()
    body["spec"] |= spec
    return body


OWNER = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "uid-1"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (mirror(), ""),
        (
            mirror(annotations={}),
            'pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create mirror pods',
        ),
        (with_spec(nodeName="n2"), 'node "n1" can only create pods with spec.nodeName set to itself'),
        (mirror(ownerReferences=[]), 'node "n1" can only create pods with an owner reference set to itself'),
        (
            mirror(ownerReferences=[OWNER, OWNER]),
            'node "n1" can only create pods with a single owner reference set to itself',
        ),
        (
            mirror(ownerReferences=[OWNER]),
            'node "n1" can only create pods with a controller owner reference set to itself',
        ),
        (
            mirror(ownerReferences=[{**OWNER, "controller": True, "blockOwnerDeletion": True}]),
            'node "n1" must not set blockOwnerDeletion on an owner reference',
        ),
        (
            mirror(ownerReferences=[{**OWNER, "controller": True, "uid": "x"}]),
            "node n1 UID mismatch: expected x got uid-1",
        ),
        (with_spec(serviceAccountName="a"), 'node "n1" can not create pods that reference serviceaccounts'),
        (
            with_spec(volumes=[{"name": "v", "secret": {"secretName": "s"}}]),
            'node "n1" can not create pods that reference secrets',
        ),
        (
            with_spec(resourceClaims=[{"name": "a", "resourceClaimTemplateName": "b"}]),
            'node "n1" can not create pods that reference resourceclaims',
        ),
        (
            with_spec(volumes=[API_VOLUME]),
            'node "n1" can not create pods that reference serviceaccounts (via projected volumes)',
        ),
        (
            with_spec(volumes=[{"name": "v", "configMap": {"name": "s"}}]),
            'node "n1" can not create pods that reference configmaps',
        ),
        (
            with_spec(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "s"}}]),
            'node "n1" can not create pods that reference persistentvolumeclaims',
        ),
        (
            with_spec(volumes=[{"name": "v", "projected": {"sources": [{"clusterTrustBundle": {"name": "s"}}]}}]),
            'node "n1" can not create pods that reference clustertrustbundles',
        ),
    ],
)
async def test_mirror_pods(body: Object, reason: str) -> None:
    assert await verdict(PODS, body) == reason


async def test_its_own_pods() -> None:
    cluster = world()
    mine, theirs = (cluster.reader.get(PODS, name, "shop") for name in ("mine", "theirs"))
    assert mine is not None
    assert await verdict(PODS, mine, old=mine, subresource="status") == ""
    assert await verdict(PODS, theirs, old=theirs, subresource="status") == (
        'node "n1" can only update pod status for pods with spec.nodeName set to itself'
    )
    relabelled = {**mine, "metadata": {**mine["metadata"], "labels": {"a": "b"}}}
    assert await verdict(PODS, relabelled, old=mine, subresource="status") == (
        'node "n1" cannot update labels through pod status'
    )
    claimed = {**mine, "status": {"resourceClaimStatuses": [{"name": "a", "resourceClaimName": "b"}]}}
    assert await verdict(PODS, claimed, old=mine, subresource="status") == (
        'node "n1" cannot update resource claim statues'
    )
    assert await verdict(PODS, None, old=mine) == ""
    assert await verdict(PODS, None, old=theirs) == 'node "n1" can only delete pods with spec.nodeName set to itself'
    assert "can only create and delete mirror pods" in await verdict(PODS, mine, old=mine)
    assert await verdict(PODS, named("mine", "shop"), subresource="eviction") == ""
    assert await verdict(PODS, named("theirs", "shop"), subresource="eviction") == (
        "node n1 can only evict pods with spec.nodeName set to itself"
    )
    assert await verdict(PODS, named("gone", "shop"), subresource="eviction") == 'pods "gone" not found'
    assert "unexpected pod subresource" in await verdict(PODS, mine, old=mine, subresource="resize")


async def test_claims_only_in_their_status() -> None:
    old = named("data", "shop", spec={"a": 1}, status={"phase": "Bound"})
    grown = {**old, "status": {"phase": "Bound", "capacity": {"storage": "2Gi"}, "conditions": []}}
    assert await verdict(PERSISTENT_VOLUME_CLAIMS, grown, old=old, subresource="status") == ""
    assert await verdict(PERSISTENT_VOLUME_CLAIMS, grown, old=old) == "may only update PVC status"
    lost = {**old, "status": {"phase": "Lost"}}
    assert await verdict(PERSISTENT_VOLUME_CLAIMS, lost, old=old, subresource="status") == (
        'node "n1" is not allowed to update fields other than status.quantity and status.conditions: status.phase'
    )


@pytest.mark.parametrize(
    ("pod", "audiences", "granted", "reason"),
    [
        ("mine", [], (), ""),
        ("mine", ["vault"], (), ""),
        ("mine", ["inline-audience"], (), ""),
        ("mine", ["disk-audience"], (), ""),
        ("mine", ["other"], ("other",), ""),
        (
            "mine",
            ["other"],
            (),
            (
                'audience "other" not found in pod spec volume, system:node:n1 is not authorized '
                "to request tokens for this audience"
            ),
        ),
        ("mine", ["vault", "other"], (), "node may only request 0 or 1 audiences"),
        ("theirs", [], (), "node requested token bound to a pod scheduled on a different node"),
        ("gone", [], (), 'pods "gone" not found'),
    ],
)
async def test_tokens_for_pods_of_the_node(
    pod: str, audiences: list[str], granted: tuple[str, ...], reason: str
) -> None:
    cluster = world()
    uid = ((cluster.reader.get(PODS, pod, "shop") or {}).get("metadata") or {}).get("uid", "x")
    bound = {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}
    body = named("default", "shop", spec={"boundObjectRef": bound, "audiences": audiences})
    options: dict[str, Any] = {"subresource": "token", "audiences": granted, "cluster": cluster}
    assert await verdict(SERVICE_ACCOUNTS, body, **options) == reason


async def test_tokens_that_are_not_bound_to_a_pod() -> None:
    for bound, reason in (
        ({"apiVersion": "v1", "kind": "Secret", "name": "x"}, "node requested token not bound to a pod"),
        ({"apiVersion": "v1", "kind": "Pod", "name": "mine"}, "node requested token with a pod binding without a uid"),
    ):
        body = named("default", "shop", spec={"boundObjectRef": bound})
        assert await verdict(SERVICE_ACCOUNTS, body, subresource="token") == reason
    bound = {"apiVersion": "v1", "kind": "Pod", "name": "mine", "uid": "old"}
    body = named("default", "shop", spec={"boundObjectRef": bound})
    assert "the UID in the bound object reference (old) does not match" in await verdict(
        SERVICE_ACCOUNTS, body, subresource="token"
    )


def signing_request(common_name: str, signer: str) -> Object:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    pem = builder.sign(ec.generate_private_key(ec.SECP256R1()), SHA256()).public_bytes(Encoding.PEM)
    return named("csr", spec={"signerName": signer, "request": base64.b64encode(pem).decode()})


async def test_certificates_of_its_own_name() -> None:
    kubelet = "kubernetes.io/kubelet-serving"
    assert await verdict(CERTIFICATE_SIGNING_REQUESTS, signing_request("system:node:n1", kubelet)) == ""
    assert await verdict(CERTIFICATE_SIGNING_REQUESTS, signing_request("system:node:n2", kubelet)) == (
        "can only create a node CSR with CN=system:node:n1"
    )
    assert await verdict(CERTIFICATE_SIGNING_REQUESTS, signing_request("alice", "example.com/x")) == ""
    broken = named("csr", spec={"signerName": kubelet, "request": "?"})
    assert (await verdict(CERTIFICATE_SIGNING_REQUESTS, broken)).startswith("unable to parse csr: ")
