"""From a pod's change to the Services whose endpoints it changes. Shared with the Endpoints controller."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twinplane.controlplane.controllers.contract import Enqueue, Informer, Key
from twinplane.controlplane.controllers.endpointslice.endpoints_of import counts
from twinplane.controlplane.controllers.ownership import key_of
from twinplane.controlplane.controllers.pods import is_ready
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.indexes import BY_SELECTOR, selecting, selector_index
from twinplane.kubeclient.meta import is_deleting, labels_of


class ServicesOfPods:
    def __init__(self, services: Informer, pods: Informer) -> None:
        self._services = services
        self._pods = pods
        services.add_index(
            BY_SELECTOR,
            lambda service: selector_index(service, _selector(service)) if service["spec"].get("selector") else (),
        )

    def watch(self, enqueue: Enqueue) -> None:
        def changed(old: Object | None, new: Object | None) -> None:
            if self._services.is_empty:
                return
            before = _relevant(old) if old is not None else None
            after = _relevant(new) if new is not None else None
            if before == after:
                return
            moved = old is not None and new is not None and labels_of(old) != labels_of(new)
            for pod in (old, new) if moved else (new if new is not None else old,):
                for key in self.keys_of(pod) if pod is not None else ():
                    enqueue(key)

        self._pods.add_handler(changed)

    def keys_of(self, pod: Object) -> Iterable[Key]:
        labels = labels_of(pod)
        for service in selecting(self._services, pod):
            if service["spec"]["selector"].items() <= labels.items():
                yield key_of(service)


def _selector(service: Object) -> dict[str, Any]:
    return {"matchLabels": service["spec"]["selector"]}


def _relevant(pod: Object) -> tuple[Any, ...] | None:
    """All of a pod that its endpoints show; None while it is none, so that starting pods cost nothing."""
    if not counts(pod):
        return None
    spec = pod["spec"]
    addresses = str(pod["status"].get("podIPs") or pod["status"]["podIP"])
    hostname = (spec.get("hostname"), spec.get("subdomain"))
    return addresses, spec.get("nodeName"), hostname, is_ready(pod), is_deleting(pod), dict(labels_of(pod))
