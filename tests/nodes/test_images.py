"""Images packed from Debian packages, pulled by a node from the region's registry under anyone's name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from cri_api.v1 import api_pb2 as cri

from tests.nodes.machines_host import IMAGES, SECONDS, Cri, Host, host, instance
from tests.nodes.registry_host import registry_in
from twinplane.cloud.machines.requirements import requirements
from twinplane.images.pack import Recipe, ensure, pack
from twinplane.images.reference import parse
from twinplane.images.store import ImageStore

LACKING = requirements(Path("/tmp"))
pytestmark = [pytest.mark.root, pytest.mark.skipif(bool(LACKING), reason=" ".join(LACKING) or "-")]

ID = "i-0f9e8d7c6b5a"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Host]:
    async with host(tmp_path / "data") as found:
        found.account.spaces.add(ID)
        async with registry_in(found.account.spaces, ID, IMAGES):
            yield found


def make(name: str, *packages: str) -> None:
    store, reference = ImageStore(IMAGES), parse(name)
    ensure(store, reference, lambda: pack(store, IMAGES / "apt", reference, Recipe(apt=packages)))


def pull(client: Cri, name: str) -> None:
    client.images.PullImage(cri.PullImageRequest(image=cri.ImageSpec(image=name)), timeout=SECONDS)


async def run(node: Host, image: str) -> tuple[Cri, str]:
    node.boot(instance(ID))
    client = await asyncio.to_thread(Cri, await node.until_booted(ID))

    def start() -> str:
        pull(client, image)
        sandbox, config = client.sandbox("pod", node.machine(ID).cgroup)
        return client.container(sandbox, config, image)

    return client, await asyncio.to_thread(start)


def answer(client: Cri, container: str, *command: str) -> str:
    """Of a program that needs a moment to listen."""
    import time

    end = time.monotonic() + SECONDS
    while True:
        try:
            return client.execute(container, *command)
        except AssertionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


async def test_nginx_under_its_name_on_docker_hub(node: Host) -> None:
    await asyncio.to_thread(make, "nginx:1.25", "nginx", "curl")
    client, container = await run(node, "nginx:1.25")
    page = await asyncio.to_thread(answer, client, container, "curl", "-s", "http://127.0.0.1/")
    assert "Welcome to nginx!" in page


async def test_redis_of_another_registry(node: Host) -> None:
    await asyncio.to_thread(make, "quay.io/org/redis:7", "redis-server")
    client, container = await run(node, "quay.io/org/redis:7")
    assert await asyncio.to_thread(answer, client, container, "redis-cli", "set", "key", "value") == "OK\n"


async def test_what_the_region_does_not_have_is_asked_of_the_real_registry(node: Host) -> None:
    node.boot(instance(ID))
    client = await asyncio.to_thread(Cri, await node.until_booted(ID))
    with pytest.raises(grpc.RpcError) as raised:
        await asyncio.to_thread(pull, client, "registry.invalid/app:1")
    # No name server answers in this namespace.
    assert "registry.invalid" in str(raised.value)
