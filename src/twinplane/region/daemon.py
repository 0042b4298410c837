"""The daemon: the one place where the cloud, the load balancers and the processes of clusters are put together.

Started by `python -m twinplane.region` (see `launcher`). Everything that must survive is on disk; a daemon that dies
leaves its children running, and the next one adopts them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from twinplane.clock import Clock, SystemClock
from twinplane.cloud.contract import AwsCredentials
from twinplane.cloud.identity import assumed_role_arn
from twinplane.cloud.loadbalancing.aliases import Aliases, SimulatedReach
from twinplane.cloud.loadbalancing.from_moto import MotoReader
from twinplane.cloud.loadbalancing.loop import LoadBalancing
from twinplane.cloud.network.fabric.reach import VpcReach
from twinplane.cloud.service import Cloud
from twinplane.region.clusters import ClusterProcesses
from twinplane.region.data_directory import DataDirectory
from twinplane.region.launcher import record_daemon, running_envoy
from twinplane.region.processes import Processes, RunningProcess
from twinplane.region.real_nodes import RealNodes
from twinplane.region.settings import Settings

log = logging.getLogger(__name__)


class Daemon:
    """`run` until cancelled; then everything is stopped, and stays on disk."""

    def __init__(self, directory: DataDirectory, settings: Settings) -> None:
        self._directory = directory
        self._settings = settings
        self._clock: Clock = SystemClock()
        self._ready = False

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            processes = Processes(self._directory, tasks)
            clusters = ClusterProcesses(self._directory, self._settings, processes, self._credentials, self._clock)
            self._cloud = Cloud(
                self._directory.cloud,
                self._settings.region,
                self._settings.account_id,
                clusters,
                clock=self._clock,
                host=self._settings.host,
                port=self._settings.port,
                health=self._health,
                images=self._directory.images,
            )
            self._cloud.publish("/_twinplane/status", self._status)
            self._cloud.publish("/_twinplane/loadbalancers", self._load_balancers)
            keys = self._cloud.credentials
            self._settings = self._settings.with_credentials(keys.access_key_id, keys.secret_access_key)
            self._settings.save(self._directory.settings)
            await self._cloud.start()
            record_daemon(self._directory)
            try:
                nodes = RealNodes(
                    self._directory,
                    self._settings,
                    self._cloud,
                    self._clock,
                    self._balancer_addresses,
                )
                real = tasks.create_task(nodes.run(), name="real nodes")
                self._balancing = self._load_balancing(clusters, nodes)
                balancing = tasks.create_task(self._balancing.run(), name="load balancing")
                await self._cloud.resumed()
                self._ready = True
                log.info("region %s at %s", self._settings.region, self._cloud.endpoint_url)
                await asyncio.Event().wait()
            finally:
                self._ready = False
                log.info("region %s stops", self._settings.region)
                balancing.cancel()
                real.cancel()
                await asyncio.wait([balancing, real])
                # None of these needs the others any more, and each waits for something: open requests, containers
                # that end, control planes that close their stores.
                await asyncio.gather(self._cloud.stop(), nodes.stop(), processes.stop_all())

    def _load_balancing(self, clusters: ClusterProcesses, nodes: RealNodes) -> LoadBalancing:
        state = self._cloud.state
        aliases = Aliases(self._directory.load_balancing / "aliases.json", self._clock)
        reader = MotoReader(self._settings.account_id, self._settings.region)
        return LoadBalancing(
            self._directory.root,
            state,
            partial(self._cloud.account.run, reader.read),
            VpcReach(state, nodes.edges, nodes.instances, SimulatedReach(state, aliases, clusters.endpoint_port)),
            aliases,
            interfaces=nodes,
        )

    def _balancer_addresses(self, dns_name: str) -> Sequence[str]:
        return self._balancing.addresses_of(dns_name)

    def _credentials(self, role_session: str) -> AwsCredentials:
        role, _, session = role_session.partition("/")
        return self._cloud.issue_service_credentials(assumed_role_arn(self._settings.account_id, role, session))

    def _health(self) -> dict[str, Any]:
        clusters = [{"name": name, "status": found["status"]} for name, found in self._clusters().items()]
        return {"ready": self._ready, "pid": os.getpid(), "clusters": clusters}

    def _clusters(self) -> dict[str, dict[str, Any]]:
        return {found["name"]: found for found in self._cloud.clusters()}

    async def _status(self) -> dict[str, Any]:
        state = self._cloud.state
        clusters = [
            {
                "name": name,
                "status": found["status"],
                "version": found["version"],
                "endpoint": found.get("endpoint", ""),
                "nodes": sum(1 for instance in state.instances(name) if instance.state == "running"),
            }
            for name, found in self._clusters().items()
        ]
        return {"region": self._settings.region, "processes": self._process_rows(), "clusters": clusters}

    def _process_rows(self) -> list[dict[str, Any]]:
        files = sorted(self._directory.processes.glob("*.json"))
        rows = [_process_row(path.stem, RunningProcess.read(path), path) for path in files]
        envoy = running_envoy(self._directory)
        if envoy is not None:
            rows.append(_process_row("envoy", envoy, self._directory.envoy / "envoy.pid"))
        return rows

    async def _load_balancers(self) -> dict[str, Any]:
        return {"loadBalancers": [_camel(found) for found in await self._balancing.describe()]}


def _process_row(name: str, process: RunningProcess | None, pid_file: Path) -> dict[str, Any]:
    if process is None:
        return {"name": name, "pid": None, "state": "stopped", "memoryMiB": 0, "age": ""}
    return {
        "name": name,
        "pid": process.pid,
        "state": "running",
        "memoryMiB": resident_mebibytes(process.pid),
        "age": _age(time.time() - pid_file.stat().st_mtime),
    }


def resident_mebibytes(pid: int) -> int:
    """0 when the process has just ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


def _age(seconds: float) -> str:
    """As kubectl shows ages, roughly: 59s, 59m, 47h, 9d."""
    for unit, length, most in (("s", 1, 120), ("m", 60, 120), ("h", 3600, 48)):
        if seconds < length * most:
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds // 86400)}d"


def _camel(found: dict[str, Any]) -> dict[str, Any]:
    names = {name: name.split("_")[0] + "".join(part.title() for part in name.split("_")[1:]) for name in found}
    return {names[name]: value for name, value in found.items()}
