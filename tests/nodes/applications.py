"""Programs in pods for tests of whole real nodes: a small web server, a client that counts, a pod that crashes.

They run in the image of the cluster's DNS, which every region has and which brings this interpreter: nothing to pack.
"""

from __future__ import annotations

import json
import os
import sys
import textwrap
from typing import Any

from tests.region_process import RegionProcess

PYTHON = os.path.realpath(sys.executable)

SERVER = """
import asyncio, os, signal, sys
NAME, DATA = os.environ["POD"], sys.argv[1]
async def answer(reader, writer):
    try:
        while head := await reader.readuntil(b"\\r\\n\\r\\n"):
            path = head.split()[1].decode()
            if path.startswith("/write/"):
                with open(DATA, "w") as file:
                    file.write(path[7:])
                    file.flush()
                    os.fsync(file.fileno())
            if path == "/read":
                body = open(DATA).read().encode() if os.path.exists(DATA) else b""
            else:
                body = NAME.encode()
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(body), body))
            await writer.drain()
    except (asyncio.IncompleteReadError, OSError):
        pass
    finally:
        writer.close()
async def serve():
    server = await asyncio.start_server(answer, "0.0.0.0", 8080, backlog=512)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
asyncio.run(serve())
"""

CLIENT = """
import http.client, socket, sys, time
host, name, each = sys.argv[1], sys.argv[2], float(sys.argv[3])
sent = failed = named = unnamed = 0
error, said = "", 0
while True:
    sent += 1
    try:
        connection = http.client.HTTPConnection(host, 80, timeout=30)
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert answer.status == 200 and answer.read()
        connection.close()
    except Exception as found:
        failed += 1
        error = repr(found)
        print("failed", time.time(), error, flush=True)
    if sent % 10 == 0:
        named += 1
        try:
            socket.getaddrinfo(name, 80, socket.AF_INET)
        except OSError as found:
            unnamed += 1
            print("unresolved", time.time(), repr(found), flush=True)
    if time.time() - said > 0.5:
        said = time.time()
        print("sum", sent, failed, named, unnamed, flush=True)
    time.sleep(each)
"""

SLEEPER = "import signal, sys; signal.signal(15, lambda *_: sys.exit(0)); signal.pause()"


def image(region: RegionProcess) -> str:
    found = region.get("-n", "kube-system", "deployment", "coredns")
    return str(found["spec"]["template"]["spec"]["containers"][0]["image"])


def deployment(
    name: str,
    image: str,
    program: str,
    *arguments: str,
    replicas: int = 1,
    more: dict[str, Any] | None = None,
    **container: Any,
) -> dict[str, Any]:
    """`more` goes into the pod's spec, `container` into the container; pods spread over nodes."""
    labels = {"app": name}
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "topologySpreadConstraints": [spread],
                    **(more or {}),
                    "containers": [
                        {
                            "name": "c",
                            "image": image,
                            "command": [PYTHON, "-c", textwrap.dedent(program), *arguments],
                            "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                            **container,
                        }
                    ],
                },
            },
        },
    }


def service(name: str, kind: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"type": kind, "selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
    }


def apply(region: RegionProcess, *objects: dict[str, Any]) -> None:
    region.kubectl("apply", "-f", "-", stdin="\n---\n".join(map(json.dumps, objects)))
