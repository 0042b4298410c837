"""ResourceClaims of pods: made from templates, reserved for pods that are bound, given back when nobody uses them."""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.ownership import key_of
from twinplane.controlplane.controllers.podcontrol import is_namespace_terminating
from twinplane.controlplane.controllers.resourceclaim.claims import (
    all_names_of,
    claim_from,
    entries_of,
    entry_of,
    is_done,
    is_unmade,
    names_of,
    statuses_of,
)
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.device_claims import FINALIZER, consumer
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import (
    controller_of,
    finalizers_of,
    is_controlled_by,
    is_deleting,
    name_of,
    namespace_of,
    uid_of,
)
from twinplane.kubeclient.resources import PODS, RESOURCE_CLAIM_TEMPLATES, RESOURCE_CLAIMS

_BY_CLAIM = "resource claim"
_BY_TEMPLATE = "resource claim template"
_BY_OWNER = "pod that it was made for"


class ResourceClaimController:
    name = "resource-claim-controller"
    workers = 10

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._events = context.events
        self._pods = context.informers.of(PODS)
        self._claims = context.informers.of(RESOURCE_CLAIMS)
        self._templates = context.informers.of(RESOURCE_CLAIM_TEMPLATES)
        self._pods.add_index(_BY_CLAIM, lambda pod: [f"{namespace_of(pod)}/{name}" for name in names_of(pod)])
        self._pods.add_index(_BY_TEMPLATE, _waiting_for)
        self._claims.add_index(_BY_OWNER, _owner_of)
        self._made: dict[str, dict[str, str]] = {}
        """By uid of the pod: claims that were made for its entries. Informers may not have brought them yet."""

    def watch(self, enqueue: Enqueue) -> None:
        def pod_changed(old: Object | None, new: Object | None) -> None:
            pod = new or old
            assert pod is not None
            entries = pod["spec"].get("resourceClaims")
            if not entries and "extendedResourceClaimStatus" not in (pod.get("status") or {}):
                return
            if new is None:
                self._made.pop(uid_of(pod), None)
            if new is None or is_done(new):
                for name in all_names_of(pod):
                    enqueue(Key(namespace_of(pod), name, RESOURCE_CLAIMS.kind))
            elif entries and not is_deleting(new):
                enqueue(key_of(new))

        def claim_changed(old: Object | None, new: Object | None) -> None:
            claim = new or old
            assert claim is not None
            enqueue(Key(namespace_of(claim), name_of(claim), RESOURCE_CLAIMS.kind))
            for pod in self._pods.by_index(_BY_CLAIM, f"{namespace_of(claim)}/{name_of(claim)}"):
                if new is None or pod["spec"].get("nodeName"):
                    enqueue(key_of(pod))

        def template_changed(old: Object | None, new: Object | None) -> None:
            if new is not None:
                for pod in self._pods.by_index(_BY_TEMPLATE, f"{namespace_of(new)}/{name_of(new)}"):
                    enqueue(key_of(pod))

        self._pods.add_handler(pod_changed)
        self._claims.add_handler(claim_changed)
        self._templates.add_handler(template_changed)

    async def reconcile(self, key: Key) -> float | None:
        if key.kind == RESOURCE_CLAIMS.kind:
            claim = self._claims.get(key.name, key.namespace)
            if claim is not None:
                await self._tidy(claim)
            return None
        pod = self._pods.get(key.name, key.namespace)
        if pod is None or is_deleting(pod) or is_done(pod):
            return None
        await self._make_claims(pod)
        if pod["spec"].get("nodeName"):
            await self._reserve(pod)
        return None

    # Claims for a pod -------------------------------------------------------------------------------------------

    async def _make_claims(self, pod: Object) -> None:
        made: dict[str, str] = {}
        for entry in entries_of(pod):
            if not is_unmade(pod, entry) and not await self._is_gone(pod, entry):
                continue
            try:
                made[entry["name"]] = await self._claim_for(pod, entry)
            except ApiError as error:
                if is_namespace_terminating(error):
                    return
                message = f"PodResourceClaim {entry['name']}: {error.message}"
                self._events.event(pod, "Warning", "FailedResourceClaimCreation", message)
                raise
        if made:
            names = {name: claim for name, claim in statuses_of(pod).items() if claim} | made
            statuses = [{"name": name, "resourceClaimName": claim} for name, claim in names.items()]
            patch: dict[str, Any] = {"metadata": {"uid": uid_of(pod)}, "status": {"resourceClaimStatuses": statuses}}
            await self._client.patch(PODS, name_of(pod), patch, namespace_of(pod), subresource="status")

    async def _is_gone(self, pod: Object, entry: dict[str, Any]) -> bool:
        """Somebody deleted the claim that was made: the pod needs another."""
        name = statuses_of(pod).get(entry["name"])
        if not entry.get("resourceClaimTemplateName") or not name or pod["spec"].get("nodeName"):
            return False
        if self._claims.get(name, namespace_of(pod)) is not None or not await self._is_missing(name, namespace_of(pod)):
            return False
        made = self._made.get(uid_of(pod), {})
        if made.get(entry["name"]) == name:
            del made[entry["name"]]
        return True

    async def _is_missing(self, name: str, namespace: str) -> bool:
        try:
            await self._client.get(RESOURCE_CLAIMS, name, namespace)
        except ApiError as error:
            if error.code != 404:
                raise
            return True
        return False

    async def _claim_for(self, pod: Object, entry: dict[str, Any]) -> str:
        known = self._made.setdefault(uid_of(pod), {})
        if entry["name"] in known:
            return known[entry["name"]]
        for claim in self._claims.by_index(_BY_OWNER, uid_of(pod)):
            if entry_of(claim) == entry["name"] and not is_deleting(claim):
                return name_of(claim)
        name = entry["resourceClaimTemplateName"]
        template = self._templates.get(name, namespace_of(pod))
        if template is None:
            missing = f'resourceclaimtemplate.resource.k8s.io "{name}" not found'
            raise ApiError("NotFound", f'resource claim template "{name}": {missing}')
        body = claim_from(template, pod, entry["name"])
        known[entry["name"]] = name_of(await self._client.create(RESOURCE_CLAIMS, body, namespace_of(pod)))
        return known[entry["name"]]

    async def _reserve(self, pod: Object) -> None:
        """For a pod that came to its node past the scheduler."""
        for name in names_of(pod):
            claim = self._claims.get(name, namespace_of(pod))
            if claim is None:
                return
            status = claim.get("status") or {}
            reserved = status.get("reservedFor") or []
            if status.get("allocation") and all(entry["uid"] != uid_of(pod) for entry in reserved):
                await self._write_status(claim, {**status, "reservedFor": [*reserved, consumer(pod)]})

    # Claims that nobody uses ------------------------------------------------------------------------------------

    async def _tidy(self, claim: Object) -> None:
        status = claim.get("status") or {}
        reserved = status.get("reservedFor") or []
        kept = [entry for entry in reserved if await self._uses(claim, entry)]
        ours = FINALIZER in finalizers_of(claim)
        if len(kept) < len(reserved) or (ours and is_deleting(claim) and not kept):
            status = {**status, "reservedFor": kept}
            if not kept and ours:
                # Whoever comes next may get devices elsewhere.
                status.pop("allocation", None)
            if status != (claim.get("status") or {}):
                claim = await self._write_status(claim, status)
            if ours and "allocation" not in status:
                finalizers = [entry for entry in finalizers_of(claim) if entry != FINALIZER]
                metadata = {**claim["metadata"], "finalizers": finalizers}
                await self._client.update(RESOURCE_CLAIMS, {**claim, "metadata": metadata})
        if not kept:
            await self._delete_unused(claim)

    async def _uses(self, claim: Object, entry: dict[str, Any]) -> bool:
        if entry.get("apiGroup") or entry["resource"] != PODS.plural:
            return True
        pod: Object | None = self._pods.get(entry["name"], namespace_of(claim))
        if pod is None:
            try:
                pod = await self._client.get(PODS, entry["name"], namespace_of(claim))
            except ApiError as error:
                if error.code != 404:
                    raise
                return False
        return uid_of(pod) == entry["uid"] and not is_done(pod)

    async def _delete_unused(self, claim: Object) -> None:
        """A finished pod may stay for long; the claim that was made for it need not."""
        owner = controller_of(claim)
        if owner is None or owner["kind"] != PODS.kind or is_deleting(claim):
            return
        pod = self._pods.get(owner["name"], namespace_of(claim))
        if pod is not None and (not is_controlled_by(claim, pod) or is_done(pod)):
            try:
                await self._client.delete(RESOURCE_CLAIMS, name_of(claim), namespace_of(claim), uid=uid_of(claim))
            except ApiError as error:
                if error.code != 404:
                    raise

    async def _write_status(self, claim: Object, status: dict[str, Any]) -> Object:
        filled = {field: value for field, value in status.items() if value}
        return await self._client.update(RESOURCE_CLAIMS, {**claim, "status": filled}, subresource="status")


def _waiting_for(pod: Object) -> list[str]:
    """Templates of claims that are not made yet."""
    return [
        f"{namespace_of(pod)}/{entry['resourceClaimTemplateName']}"
        for entry in entries_of(pod)
        if is_unmade(pod, entry)
    ]


def _owner_of(claim: Object) -> list[str]:
    owner = controller_of(claim)
    return [owner["uid"]] if owner is not None and owner["kind"] == PODS.kind else []
