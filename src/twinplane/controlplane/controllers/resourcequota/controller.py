"""Gives back quota: counts anew what a namespace uses when something in it was deleted, or changed into something that
may use less, or a quota was changed.

Admission charges quotas as objects are made; a count here on every creation would only race with it. Types are followed
from the first quota on that counts them, so a cluster without quotas pays nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twinplane.controlplane.admission import quota_usage
from twinplane.controlplane.admission.pod_resources import Amounts, added
from twinplane.controlplane.controllers.contract import Context, Enqueue, Informer, Informers, Key
from twinplane.controlplane.controllers.ownership import key_of
from twinplane.controlplane.controllers.pods import is_terminal
from twinplane.controlplane.controllers.status import write_status
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.meta import is_deleting, namespace_of
from twinplane.kubeclient.resources import (
    DEVICE_CLASSES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    RESOURCE_CLAIMS,
    RESOURCE_QUOTAS,
    SERVICES,
)

RECOUNT_SECONDS = 1.0
"""Deletions come in bursts, and a count looks at a whole namespace."""
RESYNC_SECONDS = 300.0
"""What was charged for writes that then failed is given back by then (upstream's `--resource-quota-sync-period`)."""
SYNC_SECONDS = 0.1
DISCOVERY_SECONDS = 30.0
"""After which it is looked whether a type that a quota counts is there by now."""


class Known:
    """What informers hold: `device_quota.Known`."""

    def __init__(self, informers: Informers) -> None:
        self._informers = informers

    def get(self, resource: Resource, name: str, namespace: str = "") -> Object | None:
        return self._informers.of(resource).get(name, namespace)

    def list(self, resource: Resource, namespace: str = "") -> list[Object]:
        return self._informers.of(resource).list(namespace)


class ResourceQuotaController:
    name = "resourcequota-controller"
    workers = 2

    def __init__(self, context: Context, types: Callable[[], Iterable[Resource]]) -> None:
        """`types` are those that are served now, each in one version; custom ones come and go."""
        self._types = types
        self._client = context.client
        self._clock = context.clock
        self._informers = context.informers
        self._quotas = context.informers.of(RESOURCE_QUOTAS)
        self._known = Known(context.informers)
        self._followed: dict[Resource, Informer] = {}
        self._counted_at: dict[Key, float] = {}
        self._enqueue: Enqueue = lambda key: None

    def watch(self, enqueue: Enqueue) -> None:
        self._enqueue = enqueue

        def changed(old: Object | None, new: Object | None) -> None:
            if new is None:
                assert old is not None
                self._counted_at.pop(key_of(old), None)
            elif old is None or old["spec"] != new["spec"]:
                self._counted_at.pop(key_of(new), None)
                enqueue(key_of(new))

        self._quotas.add_handler(changed)

    async def reconcile(self, key: Key) -> float | None:
        quota = self._quotas.get(key.name, key.namespace)
        if quota is None or is_deleting(quota):
            return None
        hard = quota["spec"].get("hard") or {}
        counted, missing = counted_types(quota, self._types())
        informers = [self._follow(resource) for resource in counted]
        beside = (
            [self._informers.of(resource) for resource in (PODS, DEVICE_CLASSES)] if RESOURCE_CLAIMS in counted else []
        )
        if not all(informer.synced for informer in (*informers, *beside)):
            return SYNC_SECONDS
        now = self._clock.now()
        early = self._counted_at.get(key, 0.0) + RECOUNT_SECONDS - now
        if early > 0:
            return early
        self._counted_at[key] = now
        used: Amounts = {}
        for informer in informers:
            used = added(used, quota_usage.summed(informer.resource, informer.list(key.namespace), quota, self._known))
        shown = {name: quota_usage.written(used.get(name, 0), text) for name, text in hard.items()}
        await write_status(self._client, RESOURCE_QUOTAS, quota, {"hard": dict(hard), "used": shown})
        return DISCOVERY_SECONDS if missing else RESYNC_SECONDS

    def _follow(self, resource: Resource) -> Informer:
        informer = self._followed.get(resource)
        if informer is None:
            informer = self._followed[resource] = self._informers.of(resource)
            informer.add_handler(self._release_handler(resource))
        return informer

    def _release_handler(self, resource: Resource) -> Callable[[Object | None, Object | None], None]:
        def changed(old: Object | None, new: Object | None) -> None:
            if old is None:
                return
            if new is None or _may_use_less(resource, old, new):
                for quota in self._quotas.list(namespace_of(old)):
                    if (resource.group, resource.plural) in counted_places(quota):
                        self._enqueue(key_of(quota))

        return changed


def _asked(spec: Object) -> list[object]:
    """What of a pod's spec can change and counts. Not its node: usage would be counted just when charges are fresh, and
    a charge whose pod is not there yet would be given back."""
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    return [spec.get("activeDeadlineSeconds"), spec.get("resources"), *(item.get("resources") for item in containers)]


def _may_use_less(resource: Resource, old: Object, new: Object) -> bool:
    """Of most types only the number counts."""
    if resource == PODS:
        return (is_terminal(new) and not is_terminal(old)) or _asked(old["spec"]) != _asked(new["spec"])
    if resource == PERSISTENT_VOLUME_CLAIMS:
        return old["spec"] != new["spec"] or quota_usage.attributes_classes_of(
            old
        ) != quota_usage.attributes_classes_of(new)
    return resource in (SERVICES, RESOURCE_CLAIMS) and old["spec"] != new["spec"]


def counted_places(quota: Object) -> set[tuple[str, str]]:
    """(group, plural) of the objects that a quota counts."""
    return {place for name in quota["spec"].get("hard") or {} for place in quota_usage.resources_of(name)}


def counted_types(quota: Object, types: Iterable[Resource]) -> tuple[list[Resource], bool]:
    """The types whose objects a quota counts, and whether one of them is not served."""
    places = counted_places(quota)
    known = {(each.group, each.plural): each for each in types if (each.group, each.plural) in places}
    # Claims are served or not; nobody makes them so later.
    missing = places - known.keys() - {(RESOURCE_CLAIMS.group, RESOURCE_CLAIMS.plural)}
    return [known[place] for place in sorted(known)], bool(missing)
