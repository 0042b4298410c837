"""The pods that a kubelet may create: mirrors of its static pods, bound to it, owned by it, naming no API object.

`node_restriction` asks. A pod that named a Secret would let its node read that Secret. Source: upstream's
`admitPodCreate` and `HasAPIObjectReference`.
"""

from __future__ import annotations

from twinplane.controlplane.admission.contract import AdmissionRequest, ObjectReader
from twinplane.controlplane.admission.plugin import MIRROR, body_of, entries, is_mirror, refuse
from twinplane.controlplane.auth.node_references import pod_references
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import not_found
from twinplane.kubeclient.resources import NODES

_VOLUMES = {
    "csi": "csidrivers (via CSI volumes)",
    "glusterfs": "endpoints (via glusterFS volumes)",
    "persistentVolumeClaim": "persistentvolumeclaims",
    "ephemeral": "persistentvolumeclaims (via ephemeral volumes)",
}
_PROJECTIONS = {
    "serviceAccountToken": "serviceaccounts (via projected volumes)",
    "clusterTrustBundle": "clustertrustbundles",
    "podCertificate": "podcertificates",
}


def check_mirror_pod(request: AdmissionRequest, node: str, reader: ObjectReader) -> None:
    """Raises Forbidden; NotFound for a node that has not registered yet."""
    pod = body_of(request)
    if not is_mirror(pod):
        raise refuse(request, f'pod does not have "{MIRROR}" annotation, node "{node}" can only create mirror pods')
    if (pod.get("spec") or {}).get("nodeName") != node:
        raise refuse(request, f'node "{node}" can only create pods with spec.nodeName set to itself')
    _check_owner(request, node, entries(pod.get("metadata") or {}, "ownerReferences"), reader)
    named = _named(pod)
    if named:
        raise refuse(request, f'node "{node}" can not create pods that reference {named}')


def _check_owner(request: AdmissionRequest, node: str, owners: list[Object], reader: ObjectReader) -> None:
    only = f'node "{node}" can only create pods with'
    if len(owners) > 1:
        raise refuse(request, f"{only} a single owner reference set to itself")
    owner = owners[0] if owners else {}
    if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
        raise refuse(request, f"{only} an owner reference set to itself")
    if not owner.get("controller"):
        raise refuse(request, f"{only} a controller owner reference set to itself")
    if owner.get("blockOwnerDeletion"):
        raise refuse(request, f'node "{node}" must not set blockOwnerDeletion on an owner reference')
    known = reader.get(NODES, node)
    if known is None:
        raise not_found("", "nodes", node)
    uid = known["metadata"].get("uid", "")
    if owner.get("uid") != uid:
        raise refuse(request, f"node {node} UID mismatch: expected {owner.get('uid', '')} got {uid}")


def _named(pod: Object) -> str:
    """The type of an API object that a pod needs, as upstream calls it; empty when it needs none."""
    spec = pod.get("spec") or {}
    if spec.get("serviceAccountName"):
        return "serviceaccounts"
    plurals = {plural for plural, _ in pod_references(pod)}
    for plural in ("secrets", "configmaps", "resourceclaims"):
        if plural in plurals or (plural == "resourceclaims" and spec.get("resourceClaims")):
            return plural
    for volume in entries(spec, "volumes"):
        for field, words in _VOLUMES.items():
            if volume.get(field) is not None:
                return words
        for source in entries(volume.get("projected") or {}, "sources"):
            for field, words in _PROJECTIONS.items():
                if source.get(field) is not None:
                    return words
    return ""
