"""Security contexts of pods and containers as CRI's. Pure. Source: kubelet `kuberuntime/security_context.go`.

Fields of a container go before those of its pod; what neither says is left to the image and the runtime.
"""

from __future__ import annotations

from typing import Any

from cri_api.v1 import api_pb2 as cri

from twinplane.dataplane.kubelet.containers import pause_profile
from twinplane.dataplane.kubelet.containers.errors import config_error
from twinplane.dataplane.kubelet.contract import seccomp_directory
from twinplane.dataplane.kubelet.pods.spec import Container, full_name
from twinplane.kubeclient.contract import Object

MASKED_PATHS = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READ_ONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
PAUSE_PROFILE = {"type": "Localhost", "localhostProfile": pause_profile.NAME}
SHARED = ("runAsUser", "runAsGroup", "runAsNonRoot", "seccompProfile", "appArmorProfile", "seLinuxOptions")
PROFILES = {
    "RuntimeDefault": cri.SecurityProfile.RuntimeDefault,
    "Unconfined": cri.SecurityProfile.Unconfined,
    "Localhost": cri.SecurityProfile.Localhost,
}
POLICIES = {"Merge": cri.Merge, "Strict": cri.Strict}


def effective(pod: Object, container: Container) -> dict[str, Any]:
    own, shared = container.get("securityContext") or {}, pod["spec"].get("securityContext") or {}
    return {key: shared[key] for key in SHARED if shared.get(key) is not None} | {
        key: value for key, value in own.items() if value is not None
    }


def check_non_root(pod: Object, container: Container, image: cri.Image) -> None:
    """Raises `ContainerRefused` for what would run as root and must not."""
    context = effective(pod, container)
    if not context.get("runAsNonRoot"):
        return
    where = f'(pod: "{full_name(pod)}", container: {container["name"]})'
    if context.get("runAsUser") is not None:
        if int(context["runAsUser"]) == 0:
            raise config_error(f"container's runAsUser breaks non-root policy {where}")
    elif (image.HasField("uid") and image.uid.value == 0) or not (image.HasField("uid") or image.username):
        raise config_error(f"container has runAsNonRoot and image will run as root {where}")
    elif not image.HasField("uid"):
        raise config_error(
            f"container has runAsNonRoot and image has non-numeric user ({image.username}), "
            f"cannot verify user is non-root {where}"
        )


def namespaces(pod: Object, target_id: str = "") -> cri.NamespaceOption:
    """`target_id` is the container whose processes an ephemeral container is to see."""
    spec = pod["spec"]
    option = cri.NamespaceOption(
        network=cri.NODE if spec.get("hostNetwork") else cri.POD,
        ipc=cri.NODE if spec.get("hostIPC") else cri.POD,
        pid=cri.CONTAINER,
    )
    if spec.get("hostPID"):
        option.pid = cri.NODE
    elif spec.get("shareProcessNamespace"):
        option.pid = cri.POD
    elif target_id:
        option.pid, option.target_id = cri.TARGET, target_id
    return option


def groups(pod: Object) -> list[int]:
    """Supplemental groups of all processes: fsGroup's, and those of the pod."""
    context = pod["spec"].get("securityContext") or {}
    own = [int(group) for group in context.get("supplementalGroups") or ()]
    return ([int(context["fsGroup"])] if context.get("fsGroup") is not None else []) + own


def seccomp(profile: dict[str, Any] | None) -> cri.SecurityProfile:
    kind = (profile or {}).get("type") or "Unconfined"
    made = cri.SecurityProfile(profile_type=PROFILES.get(kind, cri.SecurityProfile.Unconfined))
    if kind == "Localhost":
        made.localhost_ref = str(seccomp_directory() / ((profile or {}).get("localhostProfile") or ""))
    return made


def sandbox_security(pod: Object, *, privileged: bool) -> cri.LinuxSandboxSecurityContext:
    context = pod["spec"].get("securityContext") or {}
    made = cri.LinuxSandboxSecurityContext(
        namespace_options=namespaces(pod), privileged=privileged, supplemental_groups=groups(pod)
    )
    made.supplemental_groups_policy = POLICIES.get(context.get("supplementalGroupsPolicy") or "", cri.Merge)
    # The sandbox itself always runs confined, whatever the pod asks for (as upstream has it).
    made.seccomp.CopyFrom(seccomp(PAUSE_PROFILE))
    if context.get("runAsUser") is not None:
        made.run_as_user.value = int(context["runAsUser"])
    if context.get("runAsGroup") is not None and context.get("runAsUser") is not None:
        made.run_as_group.value = int(context["runAsGroup"])
    return made


def container_security(
    pod: Object, container: Container, image: cri.Image, target_id: str = "", *, apparmor: bool = False
) -> cri.LinuxContainerSecurityContext:
    context = effective(pod, container)
    privileged = bool(context.get("privileged"))
    made = cri.LinuxContainerSecurityContext(
        namespace_options=namespaces(pod, target_id),
        privileged=privileged,
        readonly_rootfs=bool(context.get("readOnlyRootFilesystem")),
        supplemental_groups=groups(pod),
        no_new_privs=context.get("allowPrivilegeEscalation") is False,
        seccomp=seccomp(context.get("seccompProfile")),
    )
    policy = (pod["spec"].get("securityContext") or {}).get("supplementalGroupsPolicy")
    made.supplemental_groups_policy = POLICIES.get(policy or "", cri.Merge)
    capabilities = context.get("capabilities") or {}
    made.capabilities.add_capabilities.extend(capabilities.get("add") or ())
    made.capabilities.drop_capabilities.extend(capabilities.get("drop") or ())
    if not privileged and (context.get("procMount") or "Default") == "Default":
        made.masked_paths.extend(MASKED_PATHS)
        made.readonly_paths.extend(READ_ONLY_PATHS)
    if apparmor and context.get("appArmorProfile"):
        made.apparmor.CopyFrom(seccomp(context["appArmorProfile"]))
    _user(made, context, image)
    return made


def _user(made: cri.LinuxContainerSecurityContext, context: dict[str, Any], image: cri.Image) -> None:
    if context.get("runAsUser") is not None:
        made.run_as_user.value = int(context["runAsUser"])
    elif image.HasField("uid"):
        made.run_as_user.value = image.uid.value
    elif image.username:
        made.run_as_username = image.username
    if context.get("runAsGroup") is not None:
        made.run_as_group.value = int(context["runAsGroup"])
        if not (made.HasField("run_as_user") or made.run_as_username):
            # CRI takes a group only beside a user.
            made.run_as_user.value = 0
