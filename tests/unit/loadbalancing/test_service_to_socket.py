"""The whole chain in one process: a Service, the cloud controller, AWS state, Envoy, and bytes on a socket."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from tests.unit.cloudcontroller.world import INGRESSES, SERVICES, ingress, service, world
from tests.unit.loadbalancing.backends import backend, get
from tests.unit.loadbalancing.test_envoy import region, until
from twinplane.cloud.loadbalancing.contract import Target
from twinplane.cloud.loadbalancing.from_moto import MotoReader


async def test_services_and_an_ingress_answer(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(world())
        target = await stack.enter_async_context(backend("pod"))
        (one,) = cluster.account.run_instances(1)
        await cluster.add_nodes(one)
        nlb = service("net")
        nlb["metadata"]["annotations"]["service.beta.kubernetes.io/aws-load-balancer-type"] = "nlb"
        await cluster.cluster.create(SERVICES, service("classic"))
        await cluster.cluster.create(SERVICES, nlb)
        await cluster.cluster.create(SERVICES, service("web", type="NodePort"))
        await cluster.cluster.create(INGRESSES, ingress("shop", scheme="internet-facing"))
        objects = [("classic", SERVICES), ("net", SERVICES), ("shop", INGRESSES)]
        await cluster.until(lambda: all(cluster.hostname(name, kind) for name, kind in objects))

        path = await stack.enter_async_context(region(tmp_path, MotoReader("123456789012", "us-west-2").read))
        path.reach.table = {Target(one, 30080): target}
        path.account.changed()
        for name, kind in objects:
            hostname = cluster.hostname(name, kind)
            await until(partial(path.url_of, hostname), lambda url: url is not None)
            address = await path.url_of(hostname)
            assert address is not None
            await until(path.balancing.envoy.listening, lambda found, address=address: address in found)
            assert (await get(address)).json()["target"] == "pod"
