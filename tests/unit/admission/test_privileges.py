"""Plugins that look at who asks: RBAC escalation, node restriction, certificate signing requests."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.unit.admission.requests import ALICE, all_plugins, request, send
from tests.unit.auth.fakes import Cluster, named
from twinplane.controlplane.admission.certificates import CERTIFICATE_SIGNING_REQUESTS
from twinplane.controlplane.auth.contract import UserInfo
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    ROLE_BINDINGS,
    ROLES,
)

ROOT = UserInfo("root", ("system:masters",))
KUBELET = UserInfo("system:node:n1", ("system:nodes", "system:authenticated"))
GET_PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
ALL_PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "delete", "list"]}


def rbac_rule(verb: str, resource: str, group: str, name: str = "") -> Object:
    names = {"resourceNames": [name]} if name else {}
    return {"apiGroups": [group], "resources": [resource], "verbs": [verb], **names}


def world(*rules: Object) -> Cluster:
    """Alice holds `rules` everywhere."""
    reference = {"kind": "ClusterRole", "name": "alices"}
    return Cluster(
        *((NAMESPACES, named(name)) for name in ("shop", "kube-node-lease")),
        (CLUSTER_ROLES, named("alices", rules=list(rules))),
        (CLUSTER_ROLES, named("powerful", rules=[ALL_PODS])),
        (CLUSTER_ROLE_BINDINGS, named("b", roleRef=reference, subjects=[{"kind": "User", "name": "alice"}])),
        (PODS, named("mine", "shop", spec={"nodeName": "n1"})),
        (PODS, named("theirs", "shop", spec={"nodeName": "n2"})),
    )


async def refusal(cluster: Cluster, *arguments: Any, **options: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await send(request(*arguments, **options), *all_plugins(cluster))
    return caught.value


async def allowed(cluster: Cluster, *arguments: Any, **options: Any) -> None:
    await send(request(*arguments, **options), *all_plugins(cluster))


async def test_nobody_grants_what_they_do_not_hold() -> None:
    cluster = world(GET_PODS)
    await allowed(cluster, ROLES, named("r", "shop", rules=[GET_PODS]))
    error = await refusal(cluster, ROLES, named("r", "shop", rules=[ALL_PODS]))
    assert error.code == 403
    assert error.message == (
        'roles.rbac.authorization.k8s.io "r" is forbidden: user "alice" (groups=["system:authenticated"]) is '
        "attempting to grant RBAC permissions not currently held:\n"
        '{APIGroups:[""], Resources:["pods"], Verbs:["delete" "list"]}'
    )
    await allowed(cluster, ROLES, named("r", "shop", rules=[ALL_PODS]), user=ROOT)


async def test_escalate_and_bind_are_the_ways_around() -> None:
    escalate = rbac_rule("escalate", "roles", "rbac.authorization.k8s.io")
    await allowed(world(escalate), ROLES, named("r", "shop", rules=[ALL_PODS]))
    binding = named("b", "shop", roleRef={"kind": "ClusterRole", "name": "powerful"}, subjects=[])
    await refusal(world(), ROLE_BINDINGS, binding)
    bind = rbac_rule("bind", "clusterroles", "rbac.authorization.k8s.io", "powerful")
    await allowed(world(bind), ROLE_BINDINGS, binding)
    await allowed(world(ALL_PODS), ROLE_BINDINGS, binding)


async def test_bindings_to_nothing_and_unchanged_roles() -> None:
    binding = named("b", "shop", roleRef={"kind": "Role", "name": "gone"}, subjects=[])
    assert (await refusal(world(), ROLE_BINDINGS, binding)).code == 404
    role = named("r", "shop", rules=[ALL_PODS])
    await allowed(world(), ROLES, role, old=role)
    aggregated = named("r", aggregationRule={"clusterRoleSelectors": []})
    assert 'Verbs:["*"]' in (await refusal(world(), CLUSTER_ROLES, aggregated)).message


async def test_a_kubelet_keeps_to_its_own_node() -> None:
    cluster = world()
    await allowed(cluster, NODES, named("n1"), user=KUBELET)
    assert 'is not allowed to modify node "n2"' in (await refusal(cluster, NODES, named("n2"), user=KUBELET)).message
    labelled = {"metadata": {"name": "n1", "labels": {"node-restriction.kubernetes.io/x": "y"}}}
    assert "the following labels: node-restriction" in (await refusal(cluster, NODES, labelled, user=KUBELET)).message
    usual = {
        "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "a", "eks.amazonaws.com/nodegroup": "g"}}
    }
    await allowed(cluster, NODES, usual, user=KUBELET)
    tainted = named("n1", spec={"taints": [{"key": "a", "effect": "NoSchedule"}]})
    assert "modify taints" in (await refusal(cluster, NODES, named("n1", spec={}), old=tainted, user=KUBELET)).message
    lease = named("n2", "kube-node-lease")
    assert (
        "can only access node lease with the same name as the requesting node"
        in (await refusal(cluster, LEASES, lease, user=KUBELET)).message
    )
    await allowed(cluster, LEASES, named("n1", "kube-node-lease"), user=KUBELET)


def signing_request(*organizations: str, signer: str = "kubernetes.io/kube-apiserver-client") -> Object:
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, each) for each in organizations]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    pem = builder.sign(ec.generate_private_key(ec.SECP256R1()), SHA256()).public_bytes(Encoding.PEM)
    return named("csr", spec={"signerName": signer, "request": base64.b64encode(pem).decode()})


async def test_nobody_becomes_a_master_by_certificate() -> None:
    error = await refusal(world(), CERTIFICATE_SIGNING_REQUESTS, signing_request("dev", "system:masters"))
    assert "signer with system:masters group is not allowed" in error.message
    await allowed(world(), CERTIFICATE_SIGNING_REQUESTS, signing_request("dev"))
    await allowed(world(), CERTIFICATE_SIGNING_REQUESTS, signing_request("system:masters", signer="example.com/x"))


async def test_approving_and_signing_are_rights_of_their_own() -> None:
    csr = signing_request("dev", signer="example.com/x")
    signed = csr | {"status": {"certificate": "abc"}}
    for subresource, verb, new in (("approval", "approve", csr), ("status", "sign", signed)):
        options = {"old": csr, "subresource": subresource}
        error = await refusal(world(), CERTIFICATE_SIGNING_REQUESTS, new, **options)
        assert error.message.endswith(f'user not permitted to {verb} requests with signerName "example.com/x"')
        for name in ("example.com/x", "example.com/*"):
            right = rbac_rule(verb, "signers", "certificates.k8s.io", name)
            await allowed(world(right), CERTIFICATE_SIGNING_REQUESTS, new, **options)
    await allowed(world(), CERTIFICATE_SIGNING_REQUESTS, csr, old=csr, subresource="status")
    assert ALICE.name == "alice"
