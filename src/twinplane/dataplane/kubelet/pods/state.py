"""What the runtime says of a pod, in the kubelet's terms: sandboxes and containers, newest first.

Everything that must outlive the agent is in labels and annotations of the runtime's own records (names and keys as
upstream's `kuberuntime/labels.go`), so a restarted agent adopts what runs without a record of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from cri_api.v1 import api_pb2 as cri

NAME_LABEL = "io.kubernetes.container.name"
POD_NAME_LABEL = "io.kubernetes.pod.name"
POD_NAMESPACE_LABEL = "io.kubernetes.pod.namespace"
POD_UID_LABEL = "io.kubernetes.pod.uid"
HASH = "io.kubernetes.container.hash"
RESTARTS = "io.kubernetes.container.restartCount"
MESSAGE_PATH = "io.kubernetes.container.terminationMessagePath"
MESSAGE_POLICY = "io.kubernetes.container.terminationMessagePolicy"
GRACE = "io.kubernetes.pod.terminationGracePeriod"
PRE_STOP = "io.kubernetes.container.preStopHandler"

State = Literal["created", "running", "exited", "unknown"]
STATES: dict[int, State] = {
    cri.CONTAINER_CREATED: "created",
    cri.CONTAINER_RUNNING: "running",
    cri.CONTAINER_EXITED: "exited",
}
NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ContainerState:
    """Times are seconds since the epoch, 0 when it has not come to that."""

    id: str
    name: str
    sandbox_id: str
    state: State
    created_at: float
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    """The runtime's, or the termination message."""
    restarts: int = 0
    image: str = ""
    image_id: str = ""
    hash: str = ""
    log_path: str = ""
    user: tuple[int, int, tuple[int, ...]] | None = None
    """uid, gid, supplemental groups of its first process, where the runtime tells."""

    @property
    def running(self) -> bool:
        return self.state == "running"

    @property
    def failed(self) -> bool:
        return self.state == "exited" and self.exit_code != 0


@dataclass(frozen=True, slots=True)
class SandboxState:
    id: str
    ready: bool
    attempt: int
    created_at: float
    ips: tuple[str, ...] = ()
    host_network: bool = False


@dataclass(frozen=True, slots=True)
class PodState:
    """Both newest first; of a container's instances each is there."""

    sandboxes: tuple[SandboxState, ...] = ()
    containers: tuple[ContainerState, ...] = ()

    def latest(self, name: str) -> ContainerState | None:
        return next((container for container in self.containers if container.name == name), None)

    def previous(self, current: ContainerState) -> ContainerState | None:
        """The newest instance before that one."""
        older = (item for item in self.containers if item.name == current.name and item.restarts < current.restarts)
        return next(older, None)

    @property
    def sandbox(self) -> SandboxState | None:
        return self.sandboxes[0] if self.sandboxes else None

    @property
    def ready_sandbox(self) -> SandboxState | None:
        return next((sandbox for sandbox in self.sandboxes if sandbox.ready), None)

    @property
    def running(self) -> list[ContainerState]:
        return [container for container in self.containers if container.state in ("running", "unknown")]

    def in_sandbox(self, name: str) -> ContainerState | None:
        """The newest instance in the newest sandbox."""
        found = self.latest(name)
        return found if found is not None and self.sandbox and found.sandbox_id == self.sandbox.id else None


NOTHING = PodState()


def container_state(status: cri.ContainerStatus, sandbox_id: str) -> ContainerState:
    user = status.user.linux if status.HasField("user") and status.user.HasField("linux") else None
    return ContainerState(
        id=status.id,
        name=status.labels.get(NAME_LABEL) or status.metadata.name,
        sandbox_id=sandbox_id,
        state=STATES.get(status.state, "unknown"),
        created_at=status.created_at / NANOSECONDS,
        started_at=status.started_at / NANOSECONDS,
        finished_at=status.finished_at / NANOSECONDS,
        exit_code=status.exit_code,
        reason=status.reason,
        message=status.message,
        restarts=int(status.annotations.get(RESTARTS) or status.metadata.attempt),
        image=status.image.user_specified_image or status.image.image,
        image_id=status.image_ref or status.image_id,
        hash=status.annotations.get(HASH, ""),
        log_path=status.log_path,
        user=(user.uid, user.gid, tuple(user.supplemental_groups)) if user is not None else None,
    )


def sandbox_state(status: cri.PodSandboxStatus) -> SandboxState:
    network = status.network
    host = status.linux.namespaces.options.network == cri.NODE
    ips = (network.ip, *(extra.ip for extra in network.additional_ips)) if network.ip and not host else ()
    return SandboxState(
        id=status.id,
        ready=status.state == cri.SANDBOX_READY,
        attempt=status.metadata.attempt,
        created_at=status.created_at / NANOSECONDS,
        ips=ips,
        host_network=host,
    )


def pod_state(sandboxes: Iterable[SandboxState], containers: Iterable[ContainerState]) -> PodState:
    return PodState(
        tuple(sorted(sandboxes, key=lambda sandbox: sandbox.created_at, reverse=True)),
        tuple(sorted(containers, key=lambda container: container.created_at, reverse=True)),
    )
