"""Deletes Jobs `ttlSecondsAfterFinished` after they ended."""

from __future__ import annotations

from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.ownership import key_of
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import conditions_of, is_deleting, name_of, namespace_of, time_of, uid_of
from twinplane.kubeclient.resources import JOBS


class TtlAfterFinishedController:
    name = "ttl-after-finished-controller"
    workers = 2

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._jobs = context.informers.of(JOBS)

    def watch(self, enqueue: Enqueue) -> None:
        def changed(old: Object | None, new: Object | None) -> None:
            if new is not None and expires_at(new) is not None:
                enqueue(key_of(new))

        self._jobs.add_handler(changed)

    async def reconcile(self, key: Key) -> float | None:
        job = self._jobs.get(key.name, key.namespace)
        at = expires_at(job) if job is not None else None
        if job is None or at is None:
            return None
        left = at - self._clock.now()
        if left > 0:
            return left
        try:
            await self._client.delete(
                JOBS,
                name_of(job),
                namespace_of(job),
                propagation_policy="Foreground",
                uid=uid_of(job),
                resource_version=job["metadata"]["resourceVersion"],
            )
        except ApiError as error:
            if error.code != 404:
                raise
        return None


def expires_at(job: Object) -> float | None:
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    if ttl is None or is_deleting(job):
        return None
    for condition in conditions_of(job):
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return time_of(condition.get("lastTransitionTime")) + float(ttl)
    return None
