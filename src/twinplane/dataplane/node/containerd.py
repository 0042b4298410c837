"""containerd's configuration on a node: CRI with the cgroupfs driver, overlayfs, and the region's registry first."""

from __future__ import annotations

from pathlib import Path

CONFIGURATION = "/etc/containerd/config.toml"
CERTIFICATES = "/etc/containerd/certs.d"
REGISTRIES = f"{CERTIFICATES}/_default/hosts.toml"
CNI_CONFIGURATION = "/etc/cni/net.d"
CNI_PLUGINS = "/opt/cni/bin"
SANDBOX_IMAGE = "localhost/kubernetes/pause:latest"
"""The name that the EKS-optimised image gives the pause image it brings along."""

CAP_SYS_RESOURCE = 24

_TEMPLATE = """version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [{disabled}]

[grpc]
  address = "/run/containerd/containerd.sock"

[debug]
  level = "warn"

# A shim that takes longer to answer after a restart of containerd is taken for dead, and its container killed: 5 s and
# 2 s are too short for a busy host.
[timeouts]
  "io.containerd.timeout.shim.load" = "30s"
  "io.containerd.timeout.task.state" = "30s"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{sandbox_image}"
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  restrict_oom_score_adj = {restrict_oom_score_adj}
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  tolerate_missing_hugetlb_controller = true
  disable_hugetlb_controller = {no_hugetlb}
  max_concurrent_downloads = 10

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{cni_plugins}"
  conf_dir = "{cni_configuration}"

[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/etc/containerd/certs.d"

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"
  discard_unpacked_layers = true

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false
"""
_DISABLED = (
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.tracing",
    "io.containerd.tracing.processor.v1.otlp",
)
"""Each would only say that it cannot load here, or write to directories of the host."""


def configuration() -> str:
    """config.toml. Without CAP_SYS_RESOURCE nobody may lower a process's oom_score_adj: CRI then clips it."""
    return _TEMPLATE.format(
        disabled=", ".join(f'"{name}"' for name in _DISABLED),
        sandbox_image=SANDBOX_IMAGE,
        restrict_oom_score_adj=str(not has_capability(CAP_SYS_RESOURCE)).lower(),
        no_hugetlb=str(not _has_hugetlb()).lower(),
        cni_plugins=CNI_PLUGINS,
        cni_configuration=CNI_CONFIGURATION,
    )


def registries(endpoint: str) -> str:
    """hosts.toml for every registry name: the region's registry, then the real one.

    containerd tells a host that it asks in place of another which one that is (`?ns=docker.io`); a 404 sends it on.
    """
    return f'[host."{endpoint}"]\n  capabilities = ["pull", "resolve"]\n'


def own_registry(endpoint: str, account_id: str, region: str) -> tuple[str, str]:
    """File and content for the account's ECR: nobody outside is asked for what it does not have, or shown its
    password."""
    host = f"{account_id}.dkr.ecr.{region}.amazonaws.com"
    return f"{CERTIFICATES}/{host}/hosts.toml", f'server = "{endpoint}"\n\n{registries(endpoint)}'


def has_capability(number: int) -> bool:
    status = Path("/proc/self/status").read_text()
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> number & 1)


def _has_hugetlb() -> bool:
    return any(line.split()[0] == "hugetlb" for line in Path("/proc/cgroups").read_text().splitlines())
