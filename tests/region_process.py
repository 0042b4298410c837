"""A whole region as its own processes, for tests that drive official clients: started as a user would start it.

Everything lives in a temporary folder and on loopback; `stop` leaves nothing, whatever the test did.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

from twinplane.region import launcher
from twinplane.region.data_directory import DataDirectory
from twinplane.region.ports import free_ports

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
HELM = shutil.which("helm") or str(ROOT / ".cache" / "tools" / "bin" / "helm")


@dataclass
class RegionProcess:
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    port: int = 0
    flags: tuple[str, ...] = ()
    """More for `twinplane up`."""

    def start(self) -> None:
        """Idempotent, as `twinplane up` is."""
        self.port = self.port or free_ports(1, "127.0.0.1")[0]
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        self.environment = {
            **kept,
            "PATH": f"{BIN}:{kept.get('PATH', '')}",
            "HOME": str(self.folder / "home"),
            "TWINPLANE_HOME": str(self.folder / "region"),
        }
        (self.folder / "home").mkdir(exist_ok=True)
        self.run("twinplane", "up", "--port", str(self.port), *self.flags)
        for line in self.run("twinplane", "env").splitlines():
            if line.startswith("export "):
                name, _, value = line.removeprefix("export ").partition("=")
                self.environment[name] = value.strip("'")

    def stop(self) -> None:
        launcher.stop(self.directory)
        shutil.rmtree(self.directory.root, ignore_errors=True)

    @property
    def directory(self) -> DataDirectory:
        return DataDirectory(self.folder / "region")

    def run(self, *command: str, stdin: str = "", check: bool = True, more: Mapping[str, str] | None = None) -> str:
        """The standard output of a command in the region's environment; a failure shows what it said."""
        done = self.attempt(*command, stdin=stdin, more=more)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def attempt(
        self, *command: str, stdin: str = "", more: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env={**self.environment, **(more or {})},
        )

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        return self.run("kubectl", *arguments, stdin=stdin)

    def get(self, *arguments: str) -> Any:
        """`kubectl get ... -o json`, parsed."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def helm(self, *arguments: str) -> str:
        return self.run(HELM, *arguments)

    def aws(self, *arguments: str) -> Any:
        """An `aws` command, its JSON parsed."""
        output = self.run("aws", *arguments, "--output", "json")
        return json.loads(output) if output.strip() else None

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            region_name=self.environment["AWS_REGION"],
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
        )


def eventually(condition: Callable[[], Any], what: str, seconds: float = 180) -> Any:
    """The first true answer. The bound is for what never comes: on a busy machine all takes several times as long."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.1)
    return answer
