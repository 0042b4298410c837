"""Where everything of a region lives on disk. One object, so that no other module builds a path by itself.

region.json             name, account, ports and credentials: what `twinplane env` prints
daemon.lock             held by the running daemon
kubeconfig              entries of all clusters, what `twinplane env` exports
cloud/                  the AWS account
loadbalancing/          Envoy's configuration, addresses handed out
clusters/NAME/          pki/, store, configuration of the processes
processes/NAME.json     pid files
logs/NAME.log
images/                 container images, tags, downloaded packages
machines/INSTANCE-ID/   disk and console of a real node
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

HOME_VARIABLE = "TWINPLANE_HOME"


@dataclass(frozen=True, slots=True)
class DataDirectory:
    root: Path

    @classmethod
    def locate(cls, given: str | None = None) -> DataDirectory:
        """The flag, else TWINPLANE_HOME, else `twinplane` under the XDG data directory."""
        named = given or os.environ.get(HOME_VARIABLE)
        if named:
            return cls(Path(named).expanduser().absolute())
        data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
        return cls(Path(data).expanduser().absolute() / "twinplane")

    @property
    def settings(self) -> Path:
        return self.root / "region.json"

    @property
    def lock(self) -> Path:
        return self.root / "daemon.lock"

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def cloud(self) -> Path:
        return self.root / "cloud"

    @property
    def load_balancing(self) -> Path:
        return self.root / "loadbalancing"

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def processes(self) -> Path:
        return self.root / "processes"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def cluster(self, name: str) -> Path:
        return self.root / "clusters" / name

    @property
    def envoy(self) -> Path:
        """Envoy keeps its pid file and log here: the load-balancing part looks after that process itself."""
        return self.load_balancing / "envoy"

    def log(self, process: str) -> Path:
        return self.logs / f"{process}.log"

    def all_logs(self) -> list[Path]:
        envoy = self.envoy / "envoy.log"
        consoles = sorted(self.root.glob("machines/*/console.log"))
        return sorted(self.logs.glob("*.log")) + consoles + ([envoy] if envoy.exists() else [])

    def create(self) -> None:
        """All folders, readable by their owner alone: keys live here."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self.cloud, self.load_balancing, self.processes, self.logs, self.root / "clusters"):
            folder.mkdir(mode=0o700, exist_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Whole or not at all, also across a power cut: temporary file, fsync, rename."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
