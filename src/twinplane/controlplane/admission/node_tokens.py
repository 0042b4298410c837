"""Which service account tokens a kubelet gets: those that are bound to a pod on it, for audiences that the pod names.

`node_restriction` asks. Upstream: `admitServiceAccount` of the NodeRestriction plugin, with the feature
ServiceAccountNodeAudienceRestriction, which is on since 1.33.
"""

from __future__ import annotations

from collections.abc import Iterator

from twinplane.controlplane.admission.contract import AdmissionRequest, ObjectReader
from twinplane.controlplane.admission.plugin import body_of, entries, refuse
from twinplane.controlplane.auth.contract import Attributes, Authorizer
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import not_found
from twinplane.kubeclient.resources import (
    CSI_DRIVERS,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
)

_VERB = "request-serviceaccounts-token-audience"


def check_token(request: AdmissionRequest, node: str, reader: ObjectReader, authorizer: Authorizer) -> None:
    """Raises Forbidden, NotFound for a pod that is not there."""
    spec = body_of(request).get("spec") or {}
    reference = spec.get("boundObjectRef") or {}
    if reference.get("apiVersion") != "v1" or reference.get("kind") != "Pod" or not reference.get("name"):
        raise refuse(request, "node requested token not bound to a pod")
    uid = reference.get("uid")
    if not uid:
        raise refuse(request, "node requested token with a pod binding without a uid")
    pod = reader.get(PODS, str(reference["name"]), request.namespace)
    if pod is None:
        raise not_found("", "pods", str(reference["name"]))
    if pod["metadata"].get("uid") != uid:
        raise refuse(
            request,
            f"the UID in the bound object reference ({uid}) does not match the UID in record. "
            "The object might have been deleted and then recreated",
        )
    if (pod.get("spec") or {}).get("nodeName") != node:
        raise refuse(request, "node requested token bound to a pod scheduled on a different node")
    _check_audience(request, pod, spec.get("audiences") or [], reader, authorizer)


def _check_audience(
    request: AdmissionRequest, pod: Object, audiences: list[str], reader: ObjectReader, authorizer: Authorizer
) -> None:
    if len(audiences) > 1:
        raise refuse(request, "node may only request 0 or 1 audiences")
    audience = audiences[0] if audiences else ""
    if audience in _audiences(pod, request.namespace, reader):
        return
    user = request.user
    # The audience stands where a resource would: whoever is granted it by a role need not have it in a volume.
    asked = Attributes(user, _VERB, "", "", audience, namespace=request.namespace, name=request.name)
    if not authorizer.authorize(asked).allowed:
        raise refuse(
            request,
            f'audience "{audience}" not found in pod spec volume, {user.name} is not authorized to request tokens '
            "for this audience",
        )


def _audiences(pod: Object, namespace: str, reader: ObjectReader) -> Iterator[str]:
    """What projected tokens of the pod are for, and what its CSI drivers ask for; empty is the API server's own."""
    for volume in entries(pod["spec"], "volumes"):
        for source in entries(volume.get("projected") or {}, "sources"):
            if source.get("serviceAccountToken") is not None:
                yield source["serviceAccountToken"].get("audience") or ""
        driver = reader.get(CSI_DRIVERS, _driver(pod, volume, namespace, reader))
        for token in entries((driver or {}).get("spec") or {}, "tokenRequests"):
            yield token.get("audience") or ""


def _driver(pod: Object, volume: Object, namespace: str, reader: ObjectReader) -> str:
    """The CSI driver that mounts a volume; empty where there is none."""
    if volume.get("csi") is not None:
        return str(volume["csi"].get("driver") or "")
    name = (volume.get("persistentVolumeClaim") or {}).get("claimName") or ""
    if volume.get("ephemeral") is not None:
        name = f"{pod['metadata']['name']}-{volume.get('name', '')}"
    claim = reader.get(PERSISTENT_VOLUME_CLAIMS, name, namespace) if name else None
    bound = ((claim or {}).get("spec") or {}).get("volumeName") or ""
    persistent = reader.get(PERSISTENT_VOLUMES, bound) if bound else None
    return str((((persistent or {}).get("spec") or {}).get("csi") or {}).get("driver") or "")
