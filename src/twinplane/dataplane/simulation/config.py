"""The file that the region writes for a cluster's simulation process: everything it is told, in one place."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SimulationConfig:
    """Paths are absolute; durations are in seconds."""

    cluster: str
    region: str
    version: str
    """Kubernetes minor version of the nodes, e.g. `1.36`."""
    api_server: str
    certificate_authority_file: str
    client_certificate_file: str
    client_key_file: str
    aws_endpoint: str
    aws_access_key_id: str
    aws_secret_access_key: str
    aws_session_token: str
    data_dir: str
    endpoint_port: int
    """Where aliases of pods and nodes are answered, whatever address in 127/8 was dialled."""
    kubelet_port: int
    kubelet_certificate_file: str
    kubelet_key_file: str
    kubelet_client_ca_file: str
    aliases_file: str
    boot_seconds: float = 0.2
    """From an instance that runs to a node that registers."""

    def dump(self) -> str:
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def load(cls, path: Path) -> SimulationConfig:
        """Raises ValueError for a field that is missing or unknown."""
        values = json.loads(path.read_text())
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"{path}: unknown fields {', '.join(unknown)}")
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"{path}: {error}") from error
