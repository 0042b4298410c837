"""Three real etcd members with TLS and client certificates on loopback, for the tests of the store and of replicas.

`etcd` is that of Debian's package `etcd-server`, which `make test` fetches; tests that need it are skipped elsewhere.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from twinplane.controlplane.store.etcd.configuration import EtcdConfiguration
from twinplane.region.certificates import CertificateAuthority, KeyPair, Subject
from twinplane.region.ports import free_ports

SECONDS_MAX = 3600
"""Members end by themselves after this, whatever became of the tests."""
START_SECONDS_MAX = 120
HOST = "127.0.0.1"
FETCHED = Path(__file__).parent.parent / ".cache" / "tools" / "bin" / "etcd"
PROGRAM = shutil.which("etcd") or (str(FETCHED) if FETCHED.exists() else None)


@dataclass
class EtcdCluster:
    folder: Path
    names: tuple[str, ...] = ("a", "b", "c")
    ports: list[int] = field(default_factory=list)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self) -> None:
        self.authority = CertificateAuthority(self.folder / "pki", time.time())
        self.server: KeyPair = self.authority.issue("server", Subject("etcd", addresses=[HOST, "localhost"]))
        self.client: KeyPair = self.authority.issue("client", Subject("twinplane"))
        self.ports = free_ports(2 * len(self.names), HOST)
        for name in self.names:
            self.start_member(name)
        self.wait()

    def start_member(self, name: str) -> None:
        """Also again, with the data that it has."""
        client, peer = self._urls(name)
        command = ["timeout", str(SECONDS_MAX), str(PROGRAM), "--name", name]
        flags = {
            "data-dir": str(self.folder / name),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": ",".join(f"{other}={self._urls(other)[1]}" for other in self.names),
            "cert-file": str(self.server.certificate),
            "key-file": str(self.server.key),
            "trusted-ca-file": str(self.authority.certificate_path),
            "heartbeat-interval": "50",
            "election-timeout": "500",
            "log-level": "warn",
        }
        arguments = [f"--{flag}={value}" for flag, value in flags.items()]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [*command, *arguments, "--client-cert-auth"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={"PATH": os.environ["PATH"]},
            )

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """The member and the `timeout` that bounds it; nothing else is in their process group."""
        process = self.running.pop(name)
        os.killpg(process.pid, number)
        process.wait()

    def stop(self) -> None:
        for name in tuple(self.running):
            self.kill(name)

    def wait(self) -> None:
        """Until every member that runs says that it is healthy, which takes a leader."""
        end = time.monotonic() + START_SECONDS_MAX
        for name in self.running:
            while not self._healthy(name):
                assert time.monotonic() < end, (self.folder / f"{name}.log").read_text()
                time.sleep(0.05)

    def configuration(self, prefix: str) -> EtcdConfiguration:
        return EtcdConfiguration(
            servers=tuple(self._urls(name)[0] for name in self.names),
            prefix=prefix,
            ca_file=str(self.authority.certificate_path),
            certificate_file=str(self.client.certificate),
            key_file=str(self.client.key),
        )

    def flags(self) -> tuple[str, ...]:
        """For `twinplane up` and `twinplane store migrate`."""
        found = self.configuration("/any")
        return (
            *("--etcd-servers", ",".join(found.servers), "--etcd-cafile", found.ca_file),
            *("--etcd-certfile", found.certificate_file, "--etcd-keyfile", found.key_file),
        )

    def _urls(self, name: str) -> tuple[str, str]:
        at = 2 * self.names.index(name)
        return f"https://{HOST}:{self.ports[at]}", f"http://{HOST}:{self.ports[at + 1]}"

    def _healthy(self, name: str) -> bool:
        context = ssl.create_default_context(cafile=str(self.authority.certificate_path))
        context.load_cert_chain(self.client.certificate, self.client.key)
        port = self.ports[2 * self.names.index(name)]
        connection = http.client.HTTPSConnection(HOST, port, timeout=30, context=context)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """A running cluster. Tests share it, each under a prefix of its own; who kills a member starts it again."""
    if PROGRAM is None:
        pytest.skip("there is no etcd: `make test` fetches it where there are Debian packages")
    cluster = EtcdCluster(tmp_path_factory.mktemp("etcd"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
