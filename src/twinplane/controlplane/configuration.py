"""What one control-plane process is told: everything about its cluster that it does not find in its store.

The region writes it as JSON beside the cluster's certificates; `python -m twinplane.controlplane` reads it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from twinplane.controlplane.store.etcd.configuration import EtcdConfiguration


@dataclass(frozen=True, slots=True)
class ControlPlaneConfiguration:
    cluster: str
    version: str
    """Minor version, e.g. `1.36`."""
    region: str
    account_id: str
    vpc_id: str
    service_cidr: str
    host: str
    port: int
    store: str
    """Path of the embedded store's file; not used with etcd."""
    ca_file: str
    ca_key_file: str
    certificate_file: str
    key_file: str
    kubelet_client_certificate_file: str
    kubelet_client_key_file: str
    service_account_key_file: str
    issuer: str
    """Of service-account tokens: https://oidc.eks.REGION.amazonaws.com/id/..."""
    aws_endpoint: str
    aws_access_key_id: str
    aws_secret_access_key: str
    aws_session_token: str
    """Of the service-linked role; they sign both AWS calls and those of the region's internal API."""
    interface_addresses: tuple[str, ...] = ()
    """Of the cross-account interfaces: where nodes and pods reach the API server, at port 443. Empty without a VPC."""
    edges_file: str = ""
    """`edges.json` of the VPC fabric (`twinplane.edge`), which appears with the first real node."""
    etcd: EtcdConfiguration | None = None
    """None: the embedded store."""
    replicas: int = 1
    """Processes that share the etcd store and the port; more than one elect who controls."""
    replica: int = 0
    """Which of them this one is."""
    scheduler_config_file: str = ""
    """A KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1), YAML or JSON; empty for upstream's defaults."""
    controller_manager_config_file: str = ""
    """Flags of kube-controller-manager with their values (`controllers.flags`), YAML or JSON."""

    audit_policy_file: str = ""
    """A Policy of audit.k8s.io/v1, YAML or JSON. Auditing is on when both it and the log file are named."""
    audit_log_file: str = ""

    def __post_init__(self) -> None:
        if self.replicas > 1 and self.etcd is None:
            raise ValueError("several replicas of a control plane need an etcd store")

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.port}"

    def certificate_authority(self) -> str:
        """PEM."""
        return Path(self.ca_file).read_text()

    @classmethod
    def load(cls, path: Path) -> ControlPlaneConfiguration:
        """Raises OSError, ValueError and TypeError for a file that is not one of ours."""
        fields = json.loads(path.read_text())
        etcd = fields.pop("etcd", None)
        fields["interface_addresses"] = tuple(fields.get("interface_addresses", ()))
        return cls(**fields, etcd=None if etcd is None else EtcdConfiguration(**etcd))

    def dump(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"
