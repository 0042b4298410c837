"""What the kubelets say about pods: statuses, refusals, and the last DELETE of a pod that has stopped."""

from __future__ import annotations

from twinplane.clock import rfc3339
from twinplane.dataplane.simulation.pod_status import pod_status
from twinplane.dataplane.simulation.runtime import STRATEGIC, Runtime
from twinplane.dataplane.simulation.simulated_pod import FINISHED, SimulatedPod
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import PODS


class PodWriter:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._clock = runtime.clock

    async def write(self, pod: SimulatedPod) -> None:
        """As things stand now; sets `terminal` and `deleted`. Raises `ApiError` for what may be tried again."""
        try:
            if pod.life.terminating and pod.life.stopped:
                if not pod.deleted:
                    await self._delete(pod)
            else:
                await self._write_status(pod)
        except ApiError as error:
            # Gone, or another pod of the same name by now: the informer will say so.
            if error.code not in (404, 409):
                raise

    async def _write_status(self, pod: SimulatedPod) -> None:
        if pod.refused is not None:
            await self._write_refusal(pod)
            return
        status = pod_status(pod.life, self._clock.now(), pod.node.spec.instance.private_ip, pod.address, pod.body)
        # Of what is written: the life goes on meanwhile.
        final = status["phase"] in FINISHED and pod.life.stopped
        await self._patch(pod, status)
        if final and not pod.terminal:
            pod.terminal = True

    async def _write_refusal(self, pod: SimulatedPod) -> None:
        assert pod.refused is not None
        reason, message = pod.refused
        self._runtime.events.event(pod.body, "Warning", reason, message)
        text = f"Pod was rejected: {message}"
        started = rfc3339(pod.life.started_at)
        await self._patch(pod, {"phase": "Failed", "reason": reason, "message": text, "startTime": started})

    async def _patch(self, pod: SimulatedPod, status: dict[str, object]) -> None:
        patch = {"metadata": {"uid": pod.spec.uid}, "status": status}
        spec = pod.spec
        await self._runtime.client.patch(
            PODS, spec.name, patch, spec.namespace, subresource="status", patch_type=STRATEGIC, wants_answer=False
        )

    async def _delete(self, pod: SimulatedPod) -> None:
        spec = pod.spec
        if not pod.terminal and pod.life.sandboxed:
            await self._write_status(pod)
        await self._runtime.client.delete(
            PODS, spec.name, spec.namespace, grace_period_seconds=0, uid=spec.uid, wants_answer=False
        )
        pod.deleted = True
