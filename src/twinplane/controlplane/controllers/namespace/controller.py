"""Empties namespaces that are being deleted, then lets them go.

All types that the API server serves at the moment are emptied, pods first: while any is left, nothing is taken from it
that it may need (its NetworkPolicies, its Secrets). What is left (finalizers, pods that end gracefully) is waited for,
and told in the namespace's conditions, which `kubectl get ns -o yaml` shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from twinplane.clock import Clock, rfc3339
from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.ownership import key_of
from twinplane.kubeclient.contract import KubeClient, Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import conditions_of, finalizers_of, is_deleting, name_of, with_condition
from twinplane.kubeclient.resources import NAMESPACES, PODS

FINALIZER = "kubernetes"
RETRY_SECONDS = (0.25, 15.0)
"""A namespace whose content is not gone yet is looked at again; the pause doubles."""
GRACE_DEFAULT = 30
_PODS = f"{PODS.plural}.{PODS.group}"


@dataclass
class Remains:
    """What emptying a namespace left behind."""

    objects: Counter[str] = field(default_factory=Counter)
    """By `plural.group`, as the message words it."""
    finalizers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    grace: float = 0.0
    """Seconds that pods may take."""

    @property
    def empty(self) -> bool:
        return not self.objects and not self.failures


class NamespaceController:
    name = "namespace-controller"
    workers = 4

    def __init__(self, context: Context, types: Callable[[], Iterable[Resource]]) -> None:
        self._client: KubeClient = context.client
        self._clock: Clock = context.clock
        self._namespaces = context.informers.of(NAMESPACES)
        self._types = types
        self._attempts: Counter[Key] = Counter()

    def watch(self, enqueue: Enqueue) -> None:
        def changed(old: Object | None, new: Object | None) -> None:
            # Our own status writes must not shorten the pauses.
            if new is not None and is_deleting(new) and (old is None or not is_deleting(old)):
                enqueue(key_of(new))

        self._namespaces.add_handler(changed)

    async def reconcile(self, key: Key) -> float | None:
        namespace = self._namespaces.get(key.name)
        if namespace is None or not is_deleting(namespace):
            self._attempts.pop(key, None)
            return None
        if FINALIZER not in (namespace["spec"].get("finalizers") or []):
            return None
        namespace = await self._fresh(key.name)
        if namespace is None:
            return None
        remains = await self._empty(key.name)
        namespace = await self._tell(namespace, remains)
        if remains.empty:
            self._attempts.pop(key, None)
            await self._finalize(namespace)
            return None
        self._attempts[key] += 1
        first, longest = RETRY_SECONDS
        pause: float = min(first * 2 ** (self._attempts[key] - 1), longest)
        return pause

    async def _fresh(self, name: str) -> Object | None:
        try:
            return await self._client.get(NAMESPACES, name)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def _empty(self, namespace: str) -> Remains:
        remains = Remains()
        for resource in sorted(self._types(), key=lambda resource: resource != PODS):
            if _PODS in remains.objects:
                break
            try:
                await self._empty_type(namespace, resource, remains)
            except ApiError as error:
                # A type that is not served any more, or cannot be deleted or listed, holds nothing.
                if error.code not in (404, 405):
                    remains.failures.append(error.message)
        return remains

    async def _empty_type(self, namespace: str, resource: Resource, remains: Remains) -> None:
        found = await self._client.list(resource, namespace)
        if not found.items:
            return
        for body in found.items:
            if not is_deleting(body) or resource != PODS:
                await self._delete(resource, body, namespace)
        left = (await self._client.list(resource, namespace)).items
        if not left:
            return
        remains.objects[f"{resource.plural}.{resource.group}"] += len(left)
        for body in left:
            remains.finalizers.update(finalizers_of(body))
            if resource == PODS:
                remains.grace = max(remains.grace, body["metadata"].get("deletionGracePeriodSeconds", GRACE_DEFAULT))

    async def _delete(self, resource: Resource, body: Object, namespace: str) -> None:
        try:
            await self._client.delete(resource, name_of(body), namespace, propagation_policy="Background")
        except ApiError as error:
            if error.code != 404:
                raise

    async def _tell(self, namespace: Object, remains: Remains) -> Object:
        conditions = conditions_of(namespace)
        for condition in conditions_from(remains, self._clock.now(), conditions):
            conditions = with_condition(conditions, condition)
        status = {**(namespace.get("status") or {}), "phase": "Terminating"}
        if conditions:
            status["conditions"] = conditions
        if status == namespace.get("status"):
            return namespace
        return await self._client.update(NAMESPACES, {**namespace, "status": status}, subresource="status")

    async def _finalize(self, namespace: Object) -> None:
        left = [entry for entry in namespace["spec"].get("finalizers") or [] if entry != FINALIZER]
        body = {**namespace, "spec": {**namespace["spec"], "finalizers": left}}
        try:
            await self._client.update(NAMESPACES, body, subresource="finalize")
        except ApiError as error:
            if error.code != 404:
                raise


def conditions_from(remains: Remains, now: float, known: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The conditions to set. Upstream sets all five from the first attempt on; a clean namespace needs none."""
    if remains.empty and not list(known):
        return []
    objects = ", ".join(f"{name} has {count} resource instances" for name, count in sorted(remains.objects.items()))
    holders = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(remains.finalizers.items()))
    failures = "; ".join(remains.failures)
    return [
        _condition("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "", _DISCOVERED, now),
        _condition("NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions", "", _PARSED, now),
        _condition(
            "NamespaceDeletionContentFailure",
            "ContentDeletionFailed" if failures else "ContentDeleted",
            f"Failed to delete all resource types, {len(remains.failures)} remaining: {failures}" if failures else "",
            "All content successfully deleted, may be waiting on finalization",
            now,
        ),
        _condition(
            "NamespaceContentRemaining",
            "SomeResourcesRemain" if objects else "ContentRemoved",
            f"Some resources are remaining: {objects}" if objects else "",
            "All content successfully removed",
            now,
        ),
        _condition(
            "NamespaceFinalizersRemaining",
            "SomeFinalizersRemain" if holders else "ContentHasNoFinalizers",
            f"Some content in the namespace has finalizers remaining: {holders}" if holders else "",
            "All content-preserving finalizers finished",
            now,
        ),
    ]


_DISCOVERED = "All resources successfully discovered"
_PARSED = "All legacy kube types successfully parsed"


def _condition(type: str, reason: str, problem: str, all_well: str, now: float) -> dict[str, Any]:
    return {
        "type": type,
        "status": "True" if problem else "False",
        "lastTransitionTime": rfc3339(now),
        "reason": reason,
        "message": problem or all_well,
    }
