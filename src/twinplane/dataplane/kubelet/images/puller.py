"""Makes the image of a container present, or says why not, in upstream's words.

Source: kubelet `images/image_manager.go`. Pulls run in parallel up to a bound, as EKS AMIs configure it
(serializeImagePulls: false).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cri_api.v1 import api_pb2 as cri

from twinplane.clock import Clock
from twinplane.dataplane.kubelet.containers.errors import ContainerRefused
from twinplane.dataplane.kubelet.contract import ReferencedObjects
from twinplane.dataplane.kubelet.events import PodEvents, go_duration
from twinplane.dataplane.kubelet.images.credentials import credentials
from twinplane.dataplane.kubelet.images.names import ImageName, parse_image, with_default_tag
from twinplane.dataplane.kubelet.pods.backoff import Backoff
from twinplane.dataplane.kubelet.pods.spec import Container
from twinplane.dataplane.runtime.contract import Runtime, RuntimeAway, RuntimeFailure
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import namespace_of, uid_of

PULLS_MAX = 8

NodeCredentials = Callable[[ImageName], Awaitable[cri.AuthConfig | None]]
"""What the node itself may show a registry (ECR, say), tried after the pod's secrets."""


@dataclass(slots=True)
class _Failure:
    reason: str
    message: str


class ImagePuller:
    def __init__(
        self,
        runtime: Runtime,
        objects: ReferencedObjects,
        events: PodEvents,
        clock: Clock,
        node_credentials: NodeCredentials | None = None,
        *,
        pulls_max: int = PULLS_MAX,
    ) -> None:
        self._runtime = runtime
        self._objects = objects
        self._events = events
        self._clock = clock
        self._node_credentials = node_credentials
        self._pulls = asyncio.Semaphore(pulls_max)
        self._backoff = Backoff()
        self._failures: dict[str, _Failure] = {}

    def forget(self, uid: str) -> None:
        self._backoff.forget(f"{uid}_")
        for key in [key for key in self._failures if key.startswith(f"{uid}_")]:
            del self._failures[key]

    def retry_in(self, pod: Object, container: Container) -> float:
        """Seconds of its back-off that are left."""
        return self._backoff.left_since_use(_key(pod, container), self._clock.now())

    async def ensure(self, pod: Object, container: Container, sandbox: cri.PodSandboxConfig) -> cri.Image:
        """Raises `ContainerRefused`."""
        written = container.get("image") or ""
        try:
            image = with_default_tag(written)
        except ValueError as error:
            text = f'Failed to apply default image tag "{written}": couldn\'t parse image name "{written}": {error}'
            self._events.warning(pod, "InspectFailed", text, container)
            raise ContainerRefused("InvalidImageName", text) from None
        policy = container.get("imagePullPolicy") or ("Always" if image.endswith(":latest") else "IfNotPresent")
        found = await self._present(pod, container, image)
        if found is not None and policy != "Always":
            text = f'Container image "{written}" already present on machine and can be accessed by the pod'
            self._events.normal(pod, "Pulled", text, container)
            return found
        if policy == "Never":
            text = f'Container image "{written}" is not present with pull policy of Never'
            self._events.warning(pod, "ErrImageNeverPull", text, container)
            raise ContainerRefused("ErrImageNeverPull", text)
        self._refuse_in_backoff(pod, container)
        await self._pull(pod, container, image, sandbox)
        found = await self._present(pod, container, image)
        if found is None:
            raise ContainerRefused("ImageInspectError", f'Failed to inspect image "{written}": it is gone again')
        return found

    async def _present(self, pod: Object, container: Container, image: str) -> cri.Image | None:
        try:
            answer = await self._runtime.image_status(image)
        except RuntimeAway:
            raise
        except RuntimeFailure as error:
            text = f'Failed to inspect image "{container.get("image")}": {error.grpc_text}'
            self._events.warning(pod, "InspectFailed", text, container)
            raise ContainerRefused("ImageInspectError", text) from error
        return answer.image if answer.HasField("image") and answer.image.id else None

    def _refuse_in_backoff(self, pod: Object, container: Container) -> None:
        key = _key(pod, container)
        if self._backoff.left_since_use(key, self._clock.now()) <= 0:
            return
        text = f'Back-off pulling image "{container.get("image")}"'
        self._events.normal(pod, "BackOff", text, container)
        before = self._failures.get(key)
        raise ContainerRefused("ImagePullBackOff", f"{text}: {before.reason}: {before.message}" if before else text)

    async def _pull(self, pod: Object, container: Container, image: str, sandbox: cri.PodSandboxConfig) -> None:
        written = container.get("image") or ""
        key = _key(pod, container)
        self._events.normal(pod, "Pulling", f'Pulling image "{written}"', container)
        asked_at = self._clock.now()
        async with self._pulls:
            began_at = self._clock.now()
            try:
                reference = await self._pull_with_credentials(pod, image, sandbox)
            except RuntimeFailure as error:
                now = self._clock.now()
                self._backoff.use(key, now, now)
                reason, text = _refusal(error, image)
                self._failures[key] = _Failure(reason, text)
                self._events.warning(pod, "Failed", f'Failed to pull image "{written}": {text}', container)
                raise ContainerRefused(reason, text) from error
        ended_at = self._clock.now()
        self._failures.pop(key, None)
        size = (await self._runtime.image_status(reference or image)).image.size
        took, with_wait = go_duration(ended_at - began_at), go_duration(ended_at - asked_at)
        duration = f"{took} ({with_wait} including waiting)"
        text = f'Successfully pulled image "{written}" in {duration}. Image size: {size} bytes.'
        self._events.normal(pod, "Pulled", text, container)

    async def _pull_with_credentials(self, pod: Object, image: str, sandbox: cri.PodSandboxConfig) -> str:
        name = parse_image(image)
        secrets = []
        for reference in pod["spec"].get("imagePullSecrets") or ():
            try:
                secret = await self._objects.get("secrets", namespace_of(pod), reference.get("name") or "")
            except OSError:
                continue
            if secret is not None:
                secrets.append(secret)
        tries: list[cri.AuthConfig | None] = [*credentials(secrets, name)]
        if self._node_credentials is not None:
            own = await self._node_credentials(name)
            tries += [own] if own is not None else []
        tries = tries or [None]
        for auth in tries[:-1]:
            try:
                return await self._runtime.pull_image(image, auth, sandbox)
            except RuntimeAway:
                raise
            except RuntimeFailure:
                continue
        return await self._runtime.pull_image(image, tries[-1], sandbox)


def _key(pod: Object, container: Container) -> str:
    return f"{uid_of(pod)}_{container.get('image', '')}"


def _refusal(error: RuntimeFailure, image: str) -> tuple[str, str]:
    if isinstance(error, RuntimeAway) and "RegistryUnavailable" in str(error):
        return "RegistryUnavailable", f"image pull failed for {image} because the registry is unavailable: {error}"
    return "ErrImagePull", error.grpc_text
