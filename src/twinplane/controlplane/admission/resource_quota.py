"""ResourceQuota: what a write would add is charged to the namespace's quotas before it happens, or refused.

The charge is a compare-and-swap on the quota's status, so that concurrent creates (of several API servers, too) cannot
both take the last place. Charges of writes that then fail are given back when usage is next counted from the live
objects, which happens here before a refusal and in the quota controller.
"""

from __future__ import annotations

from collections import deque

from twinplane.clock import Clock
from twinplane.controlplane.admission import quota_usage
from twinplane.controlplane.admission.contract import AdmissionRequest, ObjectReader
from twinplane.controlplane.admission.plugin import Plugin, amount, body_of, concerns, entries, refuse
from twinplane.controlplane.admission.pod_resources import Amounts, added, amounts
from twinplane.kubeclient import resources
from twinplane.kubeclient.contract import KubeClient, Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import copied
from twinplane.kubeclient.resources import PERSISTENT_VOLUME_CLAIMS, PODS, RESOURCE_QUOTAS, SERVICES

_ATTEMPTS = 10
_IN_FLIGHT_SECONDS = 5.0
_CHARGED_ON_UPDATE = frozenset((PODS.plural, SERVICES.plural, PERSISTENT_VOLUME_CLAIMS.plural))
_COMPUTE = frozenset(prefix + name for prefix in ("", "requests.", "limits.") for name in ("cpu", "memory"))
_TYPES = {(each.group, each.plural): each for each in vars(resources).values() if isinstance(each, Resource)}


def _resizes(request: AdmissionRequest) -> bool:
    return concerns(request, PODS, "UPDATE", subresource="resize")


class ResourceQuota(Plugin):
    name = "ResourceQuota"
    waits_for = (RESOURCE_QUOTAS,)

    def __init__(self, reader: ObjectReader, client: KubeClient, clock: Clock) -> None:
        self._reader = reader
        self._client = client
        self._clock = clock
        self._recent: deque[tuple[float, str, Amounts]] = deque(maxlen=10_000)

    def handles(self, request: AdmissionRequest) -> bool:
        if not request.namespace or (request.subresource and not _resizes(request)):
            return False
        charged = request.operation == "CREATE" or (
            request.operation == "UPDATE"
            and not request.resource.group
            and request.resource.plural in _CHARGED_ON_UPDATE
        )
        return charged and bool(self._reader.list(RESOURCE_QUOTAS, request.namespace))

    async def validate(self, request: AdmissionRequest) -> None:
        """Nothing is charged to any quota before all of them let the write pass."""
        quotas = sorted(self._reader.list(RESOURCE_QUOTAS, request.namespace), key=_name)
        charges = [(quota, delta) for quota in quotas if (delta := self._delta(request, quota))]
        for quota, delta in charges:
            self._allowed(request, quota, delta)
        if request.dry_run:
            return
        for quota, delta in charges:
            await self._charge(request, quota, delta)

    def _delta(self, request: AdmissionRequest, quota: Object) -> Amounts:
        hard = (quota.get("spec") or {}).get("hard") or {}
        body, resource = body_of(request), request.resource
        if not quota_usage.in_scope(quota, resource, body):
            return {}
        delta = quota_usage.relevant(quota_usage.usage(resource, body, self._reader), hard)
        if request.old is None:
            _must_specify(request, quota, hard)
        elif quota_usage.in_scope(quota, resource, request.old):
            before = quota_usage.usage(resource, request.old, self._reader)
            delta = {name: value - before.get(name, 0) for name, value in delta.items()}
        return {name: value for name, value in delta.items() if value > 0}

    def _allowed(self, request: AdmissionRequest, quota: Object, delta: Amounts) -> Amounts:
        """What is used now, when there is room for `delta`. Raises Forbidden."""
        hard = (quota.get("spec") or {}).get("hard") or {}
        used = self._used(quota, hard)
        if _exceeded(used, delta, hard):
            # A fresh charge and its object may both be counted, so a count can only lower what the status says.
            counted = self._counted(quota, hard)
            used = {name: min(value, counted.get(name, value)) for name, value in used.items()}
        over = _exceeded(used, delta, hard)
        if over:
            raise refuse(request, _exceeded_message(quota, over, delta, used, hard))
        return used

    async def _charge(self, request: AdmissionRequest, quota: Object, delta: Amounts) -> None:
        for _ in range(_ATTEMPTS):
            used = self._allowed(request, quota, delta)
            try:
                await self._client.update(RESOURCE_QUOTAS, _with_used(quota, added(used, delta)), subresource="status")
            except ApiError as error:
                if error.code == 404:
                    return
                if error.code != 409:
                    raise
                quota = await self._client.get(RESOURCE_QUOTAS, _name(quota), request.namespace)
            else:
                self._recent.append((self._clock.now(), str(quota["metadata"].get("uid")), delta))
                return
        raise ApiError(
            "Conflict", f"Operation cannot be fulfilled on resourcequotas {_name(quota)!r}: too many writers"
        )

    def _used(self, quota: Object, hard: Object) -> Amounts:
        used = amounts((quota.get("status") or {}).get("used"))
        return used if all(name in used for name in hard) else self._counted(quota, hard)

    def _counted(self, quota: Object, hard: Object) -> Amounts:
        """From the live objects, and from charges so fresh that their objects may not be there yet."""
        used: Amounts = dict.fromkeys(hard, 0)
        namespace = quota["metadata"]["namespace"]
        for resource in {found for name in hard for found in _resources(name)}:
            listed = self._reader.list(resource, namespace)
            used = added(used, quota_usage.summed(resource, listed, quota, self._reader))
        since = self._clock.now() - _IN_FLIGHT_SECONDS
        for charged_at, uid, delta in self._recent:
            if charged_at > since and uid == str(quota["metadata"].get("uid")):
                used = added(used, delta)
        return used


def _name(quota: Object) -> str:
    return str(quota["metadata"]["name"])


def _resources(name: str) -> list[Resource]:
    """The types that a quota's resource name counts, without those that have no constant (custom resources)."""
    return [_TYPES[place] for place in quota_usage.resources_of(name) if place in _TYPES]


def _exceeded(used: Amounts, delta: Amounts, hard: Object) -> list[str]:
    return sorted(name for name, value in delta.items() if used.get(name, 0) + value > amount(hard[name]))


def _exceeded_message(quota: Object, over: list[str], delta: Amounts, used: Amounts, hard: Object) -> str:
    requested = quota_usage.shown({name: delta[name] for name in over}, hard)
    taken = quota_usage.shown({name: used.get(name, 0) for name in over}, hard)
    limited = quota_usage.shown({name: amount(hard[name]) for name in over}, hard)
    return f"exceeded quota: {_name(quota)}, requested: {requested}, used: {taken}, limited: {limited}"


def _with_used(quota: Object, used: Amounts) -> Object:
    hard = quota["spec"]["hard"]
    updated: Object = copied(quota)
    status = {name: quota_usage.written(used.get(name, 0), text) for name, text in hard.items()}
    updated["status"] = {"hard": dict(hard), "used": status}
    return updated


def _must_specify(request: AdmissionRequest, quota: Object, hard: Object) -> None:
    """A quota on computing resources makes them mandatory: what asks for nothing could not be charged."""
    if request.resource.group or request.resource.plural != PODS.plural:
        return
    spec = body_of(request).get("spec") or {}
    missing = []
    for name in sorted(_COMPUTE & hard.keys()):
        kind, resource = ("limits" if name.startswith("limits.") else "requests"), name.rpartition(".")[2]
        containers = [
            str(container.get("name", ""))
            for container in entries(spec, "containers", "initContainers")
            if resource not in ((container.get("resources") or {}).get(kind) or {})
        ]
        if containers and resource not in ((spec.get("resources") or {}).get(kind) or {}):
            missing.append(f"{name} for: {','.join(sorted(containers))}")
    if missing:
        raise refuse(request, f"failed quota: {_name(quota)}: must specify {'; '.join(missing)}")
