"""What the API server does in a second: `python -m benchmarks.api_server` prints one table.

The server runs in a process of its own with the embedded store in a file, TLS and a bearer token; this process is the
load. Everything is on loopback and ends by itself. Figures are for two cores: one serves, one asks.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import orjson
import uvloop

from benchmarks._load import Client, connect, timed_gets

TOKEN = "benchmark"
PODS = "/api/v1/namespaces/default/pods"
GOALS = {"GET": "8,000/s", "CREATE": "3,000/s", "LIST 10,000": "80 ms", "fan-out to 1,000": "100 ms"}
_READY = b"port "


def pod(name: str) -> bytes:
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "web", "pod-template-hash": "5d9c7"}},
        "spec": {
            "containers": [
                {
                    "name": "web",
                    "image": "public.ecr.aws/nginx/nginx:1.29",
                    "ports": [{"containerPort": 80}],
                    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
                    "readinessProbe": {"httpGet": {"path": "/", "port": 80}},
                }
            ]
        },
    }
    return orjson.dumps(body)


def status_patch(number: int) -> bytes:
    return orjson.dumps({"status": {"phase": "Running", "message": f"seen {number}"}})


async def rate(clients: list[Client], seconds: float, send: Callable[[Client, int], Awaitable[bytes]]) -> float:
    """Requests a second of a closed loop on every client."""
    end = time.monotonic() + seconds
    counts = [0] * len(clients)

    async def loop(index: int) -> None:
        while time.monotonic() < end:
            await send(clients[index], counts[index] * len(clients) + index)
            counts[index] += 1

    began = time.monotonic()
    await asyncio.gather(*map(loop, range(len(clients))))
    return sum(counts) / (time.monotonic() - began)


async def fill(clients: list[Client], total: int) -> None:
    names: Iterator[int] = iter(range(total))

    async def loop(client: Client) -> None:
        for number in names:
            await client.request("POST", PODS, pod(f"filled-{number}"), expect=201)

    await asyncio.gather(*map(loop, clients))


async def fan_out(port: int, context: ssl.SSLContext, client: Client, watchers: int) -> tuple[float, float]:
    """(median, best) seconds from a write's start to the last of the watchers having the event."""
    streams = [await connect(port, context, TOKEN) for _ in range(watchers)]
    path = f"{PODS}?watch=1&resourceVersion={await _revision(client)}"
    for stream in streams:
        stream.begin("GET", path)
    await asyncio.sleep(0.5)
    times = []
    for number in range(9):
        began = time.monotonic()
        waits = [stream.until_data() for stream in streams]
        await client.request("PATCH", f"{PODS}/filled-1/status", status_patch(number), content_type=MERGE)
        await asyncio.gather(*waits)
        times.append(time.monotonic() - began)
        await asyncio.sleep(0.1)
    for stream in streams:
        stream.close()
    return sorted(times)[len(times) // 2], min(times)


MERGE = "application/merge-patch+json"


async def _revision(client: Client) -> str:
    body = orjson.loads(await client.request("GET", f"{PODS}?limit=1"))
    return str(body["metadata"]["resourceVersion"])


async def measure(port: int, certificate: Path, seconds: float) -> list[tuple[str, str]]:
    context = ssl.create_default_context(cafile=str(certificate))
    clients = [await connect(port, context, TOKEN) for _ in range(64)]
    await clients[0].request("POST", PODS, pod("one"), expect=201)
    rows = []
    gets = await rate(clients, seconds, lambda client, _: client.request("GET", f"{PODS}/one"))
    rows.append(("GET", f"{gets:,.0f}/s"))
    run = time.monotonic_ns()
    creates = await rate(
        clients, seconds, lambda client, n: client.request("POST", PODS, pod(f"made-{run}-{n}"), expect=201)
    )
    rows.append(("CREATE", f"{creates:,.0f}/s"))
    await clients[0].request("DELETE", PODS)
    await fill(clients, 10_000)
    patches = await rate(
        clients,
        seconds,
        lambda client, n: client.request(
            "PATCH", f"{PODS}/filled-{n % 10_000}/status", status_patch(n), content_type=MERGE
        ),
    )
    rows.append(("PATCH status", f"{patches:,.0f}/s"))
    times, size = await asyncio.to_thread(timed_gets, port, context, TOKEN, PODS, 9)
    rows.append(("LIST 10,000", f"{sorted(times)[4] * 1000:.0f} ms ({size / 1e6:.0f} MB)"))
    median, best = await fan_out(port, context, clients[0], 1_000)
    rows.append(("fan-out to 1,000", f"{median * 1000:.0f} ms (best {best * 1000:.0f})"))
    for client in clients:
        client.close()
    return rows


async def run(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as directory:
        server = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.api_server", "--serve", directory, stdout=asyncio.subprocess.PIPE
        )
        try:
            assert server.stdout is not None
            line = await server.stdout.readline()
            if not line.startswith(_READY):
                raise RuntimeError("the server did not start")
            rows = await measure(int(line.removeprefix(_READY)), Path(directory) / "server.crt", seconds)
        finally:
            if server.returncode is None:
                server.terminate()
            await server.wait()
    print(f"{'probe':<20}{'measured':>22}{'goal':>12}")
    for name, value in rows:
        print(f"{name:<20}{value:>22}{GOALS.get(name, ''):>12}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", metavar="DIRECTORY", help="run the server part only (used by the benchmark itself)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each rate")
    options = parser.parse_args()
    if not options.serve:
        uvloop.run(run(options.seconds))
        return
    from benchmarks._serving import serve_until_stopped

    uvloop.run(serve_until_stopped(Path(options.serve), TOKEN))


if __name__ == "__main__":
    main()
