"""What the API server does in a second, and how that grows: `python -m benchmarks api_server [--large]`.

The server is a process of its own with the embedded store in a file, TLS, RBAC, fairness and full admission; this
process is the load, with a service account's token. Everything is on loopback and ends by itself. A kube-apiserver
named by KUBE_APISERVER is measured the same way, on an etcd of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop

from benchmarks import _figures, _upstream
from benchmarks._figures import Row
from benchmarks._target import MASTERS_TOKEN, Target, fill, prepare, template

GOALS = {
    "GET one": "8,000/s, p99 15 ms",
    "CREATE pods, full": "3,000/s, p99 60 ms",
    "PATCH": "3,000/s",
    "LIST 10,000": "80 ms, first byte 15 ms",
    "LIST by label, 100 in 150,000": "10 ms",
    "one change": "100 ms",
    "pod changes, 10,000": "as with 10",
    "memory of a stored 2 KB pod at 100,000": "6 KB",
    "CREATE custom": "1,500/s",
}
WATCHERS = 1_000
NODE_WATCHERS = (10, 10_000)
_READY = b"port "


@asynccontextmanager
async def twinplane(directory: Path) -> AsyncIterator[Target]:
    pipe = subprocess.PIPE
    command = (sys.executable, "-m", "benchmarks.api_server", "--serve", str(directory))
    server = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert server.stdin is not None
    assert server.stdout is not None
    requests, answers = server.stdin, server.stdout

    async def ask(file: Path, begin: int, end: int) -> None:
        requests.write(f"fill {file} {begin} {end}\n".encode())
        if await answers.readline() != b"filled\n":
            raise RuntimeError("the server could not be filled")

    try:
        line = await answers.readline()
        if not line.startswith(_READY):
            raise RuntimeError("the server did not start")
        context = ssl.create_default_context(cafile=str(directory / "server.crt"))
        yield Target("Twinplane", int(line.removeprefix(_READY)), context, (server.pid,), ask)
    finally:
        if server.returncode is None:
            server.terminate()
        await server.wait()


def show(row: Row) -> None:
    goal = next((goal for name, goal in GOALS.items() if row.figure.startswith(name)), "")
    print(f"| {row.figure} | {row.measured} | {row.processor} | {goal} |", flush=True)


def heading(title: str) -> None:
    print(f"\n{title} (load {os.getloadavg()[0]:.1f})\n", flush=True)
    print("| figure | measured | server's CPU, a request | goal |\n|---|---|---|---|", flush=True)


async def measure(target: Target, directory: Path, seconds: float) -> None:
    """Every figure that does not need more than 10,000 pods."""
    heading(f"{target.name}, 10,000 pods")
    await prepare(target)
    clients = await target.clients(64)
    file = await template(clients[0], directory)
    await fill(target, clients, file, 0, 10_000)
    show(await _figures.listing(target, "LIST 10,000 pods"))
    show(await _figures.get(target, clients, seconds))
    show(await _figures.create(target, clients, seconds))
    show(await _figures.create_distinct(target, clients, seconds))
    show(await _figures.patch(target, clients, seconds))
    show(await _figures.custom(target, clients, seconds))
    show(await _figures.fan_out(target, clients[0], WATCHERS))
    for watchers in NODE_WATCHERS:
        show(await _figures.by_node(target, clients[0], watchers, seconds))
    for client in clients:
        client.close()


async def grow(target: Target, directory: Path, seconds: float, sizes: list[int]) -> None:
    """Memory first, on a server that has done nothing else."""
    heading(f"{target.name}, growing")
    await prepare(target)
    clients = await target.clients(64)
    file = await template(clients[0], directory)
    held, grown = 0, 0
    for size in sizes:
        before = target.resident_bytes()
        await fill(target, clients, file, held, size)
        grown += target.resident_bytes() - before
        held = size
        show(Row(f"memory of a stored 2 KB pod at {size:,}", f"{grown / size / 1024:.1f} KB", ""))
        show(await _figures.selector(target, size))
        if size == 150_000:
            continue
        for figure in (_figures.get, _figures.create):
            row = await figure(target, clients, seconds)
            show(row._replace(figure=f"{row.figure}, at {size:,}"))
    for client in clients:
        client.close()


async def run(seconds: float, large: bool, parts: list[str]) -> None:
    task = asyncio.current_task()
    assert task is not None
    # Whoever ends this early ends the servers too.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    sizes = [10_000, 100_000, 150_000, *([1_000_000] if large else [])]
    if "table" in parts:
        with tempfile.TemporaryDirectory() as name:
            async with twinplane(Path(name)) as target:
                await measure(target, Path(name), seconds)
    if "upstream" in parts and (binary := os.environ.get("KUBE_APISERVER")):
        with tempfile.TemporaryDirectory() as name:
            async with _upstream.kube_apiserver(Path(binary), Path(name)) as target:
                await measure(target, Path(name), seconds)
    if "growth" in parts:
        with tempfile.TemporaryDirectory() as name:
            async with twinplane(Path(name)) as target:
                await grow(target, Path(name), seconds, sizes)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks api_server", description=__doc__)
    parser.add_argument("--serve", metavar="DIRECTORY", help="run the server part only (used by the benchmark itself)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each of three rounds of each rate")
    parser.add_argument("--large", action="store_true", help="grow to 1,000,000 objects: 8 GB of memory, minutes")
    parser.add_argument("--parts", nargs="+", default=["table", "upstream", "growth"], help="of the run")
    options = parser.parse_args()
    if not options.serve:
        uvloop.run(run(options.seconds, options.large, options.parts))
        return
    from benchmarks._serving import serve_until_stopped

    uvloop.run(serve_until_stopped(Path(options.serve), MASTERS_TOKEN))


if __name__ == "__main__":
    main()
