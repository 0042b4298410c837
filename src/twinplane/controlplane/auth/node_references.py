"""What the pods of a node refer to: the edges of upstream's node authorizer graph, found from the node's end.

`node` asks on each request of a kubelet. Pods are indexed by node already, so there is no graph to keep up at every
change of every pod: a request looks at the pods of one node in one namespace, and what a pod names is remembered for
as long as the pod is the same. Source of the edges: upstream's `plugin/pkg/auth/authorizer/node/graph.go`.
"""

from __future__ import annotations

from collections.abc import Iterator

from twinplane.controlplane.admission.contract import ObjectReader, Stored
from twinplane.controlplane.admission.plugin import is_mirror
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES

References = frozenset[tuple[str, str]]
"""(plural, name) in the pod's namespace."""
REMEMBERED = 65_536
"""Pods whose references are kept; those of equal pods are one set."""
_VOLUME_SECRETS = (
    ("azureFile", "secretName", "secretNamespace"),
    ("cephfs", "secretRef", ""),
    ("cinder", "secretRef", ""),
    ("flexVolume", "secretRef", ""),
    ("iscsi", "secretRef", ""),
    ("rbd", "secretRef", ""),
    ("scaleIO", "secretRef", ""),
    ("storageos", "secretRef", ""),
    ("csi", "nodePublishSecretRef", ""),
    ("csi", "nodeStageSecretRef", ""),
    ("csi", "nodeExpandSecretRef", ""),
)
"""Source of a PersistentVolume, its field, and where that is a plain name, the field of its namespace."""


class NodeReferences:
    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader
        self._known: dict[str, tuple[int, References]] = {}
        self._sets: dict[References, References] = {}

    def runs(self, node: str, namespace: str, name: str) -> bool:
        """Whether the pod is bound to the node."""
        return any(pod.name == name for pod in self._reader.on_node(node, namespace))

    def named(self, node: str, plural: str, namespace: str, name: str) -> bool:
        """Whether a pod of the node names the object."""
        wanted = (plural, name)
        return any(wanted in self._of(pod) for pod in self._reader.on_node(node, namespace))

    def secret(self, node: str, namespace: str, name: str) -> bool:
        """As `named`, or by way of a volume that a pod of the node has claimed."""
        if self.named(node, "secrets", namespace, name):
            return True
        return any((namespace, name) in volume_secrets(volume) for volume in self._volumes(node))

    def volume(self, node: str, name: str) -> bool:
        """Whether a pod of the node names the claim that the PersistentVolume is bound to."""
        found = self._reader.get(PERSISTENT_VOLUMES, name)
        claim = (found or {}).get("spec", {}).get("claimRef") or {}
        return bool(claim) and self.named(
            node, "persistentvolumeclaims", claim.get("namespace", ""), claim.get("name", "")
        )

    def _volumes(self, node: str) -> Iterator[Object]:
        for pod in self._reader.on_node(node):
            for plural, name in self._of(pod):
                if plural != "persistentvolumeclaims":
                    continue
                claim = self._reader.get(PERSISTENT_VOLUME_CLAIMS, name, pod.namespace)
                volume = self._reader.get(PERSISTENT_VOLUMES, ((claim or {}).get("spec") or {}).get("volumeName") or "")
                reference = ((volume or {}).get("spec") or {}).get("claimRef") or {}
                if volume is not None and (reference.get("namespace"), reference.get("name")) == (pod.namespace, name):
                    yield volume

    def _of(self, pod: Stored) -> References:
        known = self._known.get(pod.key)
        if known is not None and known[0] == pod.revision:
            return known[1]
        if len(self._known) >= REMEMBERED:
            self._known, self._sets = {}, {}
        found = references(pod.parsed())
        found = self._sets.setdefault(found, found)
        self._known[pod.key] = (pod.revision, found)
        return found


def references(pod: Object) -> References:
    """What a pod names. A mirror pod names nothing: its node made it, and would grant itself what it likes."""
    if is_mirror(pod):
        return frozenset()
    return frozenset(pod_references(pod))


def pod_references(pod: Object) -> Iterator[tuple[str, str]]:
    """(plural, name) of everything that a pod names, mirror pod or not."""
    return ((plural, name) for plural, name in _references(pod) if name)


def _references(pod: Object) -> Iterator[tuple[str, str]]:
    spec, status = pod["spec"], pod.get("status") or {}
    yield "serviceaccounts", spec.get("serviceAccountName") or ""
    for secret in spec.get("imagePullSecrets") or ():
        yield "secrets", secret.get("name", "")
    for volume in spec.get("volumes") or ():
        yield from _volume_references(pod, volume)
    for key in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(key) or ():
            yield from _container_references(container)
    # A claim made from a template has a name once the status tells it.
    for claim in (*(spec.get("resourceClaims") or ()), *(status.get("resourceClaimStatuses") or ())):
        yield "resourceclaims", claim.get("resourceClaimName") or ""
    yield "resourceclaims", (status.get("extendedResourceClaimStatus") or {}).get("resourceClaimName") or ""


def _volume_references(pod: Object, volume: Object) -> Iterator[tuple[str, str]]:
    yield "configmaps", (volume.get("configMap") or {}).get("name") or ""
    yield "persistentvolumeclaims", (volume.get("persistentVolumeClaim") or {}).get("claimName") or ""
    if volume.get("ephemeral") is not None:
        yield "persistentvolumeclaims", f"{pod['metadata']['name']}-{volume.get('name', '')}"
    yield "secrets", (volume.get("secret") or {}).get("secretName") or ""
    yield "secrets", (volume.get("azureFile") or {}).get("secretName") or ""
    for source in ("cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"):
        yield "secrets", ((volume.get(source) or {}).get("secretRef") or {}).get("name") or ""
    yield "secrets", ((volume.get("csi") or {}).get("nodePublishSecretRef") or {}).get("name") or ""
    for source in (volume.get("projected") or {}).get("sources") or ():
        yield "secrets", (source.get("secret") or {}).get("name") or ""
        yield "configmaps", (source.get("configMap") or {}).get("name") or ""
        bundle = source.get("clusterTrustBundle") or {}
        yield "clustertrustbundles", bundle.get("name") or bundle.get("signerName") or ""


def _container_references(container: Object) -> Iterator[tuple[str, str]]:
    for source in container.get("envFrom") or ():
        yield "secrets", (source.get("secretRef") or {}).get("name") or ""
        yield "configmaps", (source.get("configMapRef") or {}).get("name") or ""
    for variable in container.get("env") or ():
        value = variable.get("valueFrom") or {}
        yield "secrets", (value.get("secretKeyRef") or {}).get("name") or ""
        yield "configmaps", (value.get("configMapKeyRef") or {}).get("name") or ""


def volume_secrets(volume: Object) -> Iterator[tuple[str, str]]:
    """(namespace, name) of the Secrets that a kubelet needs for a bound PersistentVolume."""
    spec = volume["spec"]
    own = spec["claimRef"].get("namespace", "")
    for source, field, namespace in _VOLUME_SECRETS:
        body = spec.get(source) or {}
        named = body.get(field)
        if namespace and named:
            yield body.get(namespace) or own, named
        elif named:
            yield named.get("namespace") or own, named.get("name", "")
