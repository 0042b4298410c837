"""What a region was first started with, kept in region.json: a restart must find the same ports and names."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from twinplane.controlplane.store.etcd.configuration import EtcdConfiguration
from twinplane.region.data_directory import write_atomically


@dataclass(frozen=True, slots=True)
class Settings:
    region: str = "us-west-2"
    account_id: str = "123456789012"
    host: str = "127.0.0.1"
    port: int = 4566
    access_key_id: str = ""
    secret_access_key: str = ""
    """Of the account's IAM user `admin`; filled in by the daemon on its first start."""
    etcd: EtcdConfiguration | None = None
    """Where new clusters keep their objects; each adds its name to the prefix. None: in the data directory."""
    control_plane_replicas: int = 1
    """Of clusters in etcd."""

    @property
    def endpoint_url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @classmethod
    def load(cls, path: Path) -> Settings | None:
        """None when there is no region yet. Raises `BadSettings` for a file that is not ours."""
        try:
            stored = json.loads(path.read_text())
            etcd = stored.pop("etcd", None)
            return cls(**stored, etcd=None if etcd is None else EtcdConfiguration(**etcd))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, AttributeError) as error:
            raise BadSettings(f"{path} is not a region file: {error}") from error

    def save(self, path: Path) -> None:
        write_atomically(path, json.dumps(asdict(self), indent=2) + "\n")

    def with_credentials(self, access_key_id: str, secret_access_key: str) -> Settings:
        return replace(self, access_key_id=access_key_id, secret_access_key=secret_access_key)


class BadSettings(Exception):
    pass
