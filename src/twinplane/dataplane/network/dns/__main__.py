"""`python -m twinplane.dataplane.network.dns --conf /etc/coredns/Corefile`: what the pods of the Deployment
`coredns` run.

In a pod: the API server and its token are found as every in-cluster client finds them. The Corefile is read again
when it changed.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import ssl
import sys
from contextlib import suppress
from pathlib import Path
from random import SystemRandom

from twinplane.dataplane.network.dns.corefile import Corefile, CorefileError, parse
from twinplane.dataplane.network.dns.hosts import Hosts
from twinplane.dataplane.network.dns.objects import InformerObjects
from twinplane.dataplane.network.dns.observation import Observation
from twinplane.dataplane.network.dns.zone import ClusterZone
from twinplane.kubeclient.http import HttpClient
from twinplane.kubeclient.informer import SharedInformers
from twinplane.nameserver.contract import Source
from twinplane.nameserver.forwarding import Forwarder
from twinplane.nameserver.responder import Responder
from twinplane.nameserver.server import serving

log = logging.getLogger("coredns")

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
RELOAD_SECONDS = 15.0
SYNC_SECONDS = 5.0
"""Waited for the API server before names are answered without it, as CoreDNS's kubernetes plugin does."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="coredns", description="Cluster DNS of Twinplane")
    parser.add_argument("-conf", "--conf", type=Path, required=True, help="Corefile to load")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on")
    parser.add_argument("--port", type=int, default=53)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="[%(levelname)s] %(message)s", stream=sys.stdout)
    logging.getLogger("twinplane").setLevel(logging.WARNING)
    with suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(run(arguments.conf, arguments.host, arguments.port))


async def run(path: Path, host: str, port: int) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with in_cluster_client() as client, asyncio.TaskGroup() as tasks:
        informers = SharedInformers(client)
        objects = InformerObjects(informers)
        tasks.create_task(informers.run())
        with suppress(TimeoutError):
            async with asyncio.timeout(SYNC_SECONDS):
                await informers.wait_synced()
        observation = Observation(lambda: objects.synced)
        tasks.create_task(observation.run(host))
        while True:
            text = read(path)
            try:
                corefile = parse(text)
            except CorefileError as error:
                raise SystemExit(str(error)) from error
            responder = responder_of(corefile, objects, observation)
            async with serving(responder, host, port):
                log.info("plugin/reload: Running configuration of %d bytes", len(text))
                while read(path) == text:  # noqa: ASYNC110 - another's file
                    await asyncio.sleep(RELOAD_SECONDS)


def read(path: Path) -> str:
    """The Corefile: short, and on the node's disk."""
    return path.read_text()


def responder_of(corefile: Corefile, objects: InformerObjects, observation: Observation) -> Responder:
    sources: list[Source] = [Hosts(corefile.hosts)]
    sources += [ClusterZone(objects, zone, corefile.ttl) for zone in corefile.cluster_zones]
    zones = {zone: servers for zone, servers in corefile.forward.items() if zone != "."}
    forwarder = Forwarder(corefile.forward.get(".", []), zones)
    return Responder(sources, forwarder, SystemRandom(), observation.observe)


def in_cluster_client() -> HttpClient:
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))

    async def token() -> str:
        return (ACCOUNT / "token").read_text()

    return HttpClient(f"https://{host}:{port}", context, token, user_agent="CoreDNS")


if __name__ == "__main__":
    main()
