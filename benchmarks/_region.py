"""A region of its own for a benchmark: started, watched (memory, processor time) and stopped. Loopback only."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks._load import Client, connect
from twinplane.cli.cluster import account_of
from twinplane.cli.region_access import region_access
from twinplane.cli.token import access_token

CLUSTER = "bench"
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Region:
    home: Path
    port: int
    context: ssl.SSLContext
    token: str
    peak: int = 0
    """Resident bytes of all processes together, the most that `watch` saw."""

    async def client(self) -> Client:
        return await connect(self.port, self.context, self.token)

    async def command(self, *words: str) -> None:
        """`twinplane WORDS`. Raises RuntimeError with what it printed."""
        environment = {**os.environ, "TWINPLANE_HOME": str(self.home)}
        process = await asyncio.create_subprocess_exec(
            *_twinplane(), *words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        output, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(output.decode())

    def processes(self) -> dict[str, int]:
        """Name -> pid, of those that live."""
        found = {}
        for path in (self.home / "processes").glob("*.json"):
            pid = int(json.loads(path.read_text())["pid"])
            if Path(f"/proc/{pid}").exists():
                found[path.stem] = pid
        return found

    def memory(self) -> dict[str, int]:
        """Resident bytes."""
        return {name: int(_proc(pid, "statm")[1]) * PAGE for name, pid in self.processes().items()}

    def processor_seconds(self) -> dict[str, float]:
        ticks = {name: _proc(pid, "stat") for name, pid in self.processes().items()}
        return {name: (int(fields[13]) + int(fields[14])) / TICKS for name, fields in ticks.items()}

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            self.peak = max(self.peak, sum(self.memory().values()))
            await asyncio.sleep(1)


def _proc(pid: int, name: str) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return ["0"] * 52
    # The second field of `stat` is the name in brackets, which may hold anything.
    return text.split() if name == "statm" else ["", "", *text.rpartition(") ")[2].split()]


def _twinplane() -> list[str]:
    return [sys.executable, "-P", "-m", "twinplane.cli.main"]


@asynccontextmanager
async def region() -> AsyncIterator[Region]:
    """With one empty cluster named `bench`."""
    home = Path(tempfile.mkdtemp(prefix="twinplane-bench-"))
    made = Region(home, 0, ssl.create_default_context(), "")
    watcher: asyncio.Task[None] | None = None
    try:
        await made.command("up", "--port", str(_free_port()))
        await made.command("create", "cluster", "-n", CLUSTER, "--without-nodegroup", "--no-write-kubeconfig")
        access = region_access(str(home))
        described = account_of(access).eks.describe_cluster(name=CLUSTER)["cluster"]
        authority = base64.b64decode(described["certificateAuthority"]["data"]).decode()
        made.context = ssl.create_default_context(cadata=authority)
        made.port = urlsplit(described["endpoint"]).port or 443
        made.token = access_token(access, CLUSTER, time.time())
        watcher = asyncio.create_task(made.watch())
        yield made
    finally:
        if watcher is not None:
            watcher.cancel()
        if logs := os.environ.get("TWINPLANE_BENCH_LOGS"):
            shutil.copytree(home / "logs", logs, dirs_exist_ok=True)
        await made.command("down", "--purge")
        shutil.rmtree(home, ignore_errors=True)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
