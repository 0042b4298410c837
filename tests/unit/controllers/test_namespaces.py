"""Namespaces from creation (account, certificate) to their end."""

from __future__ import annotations

from collections.abc import Sequence

from tests.unit.controllers.world import World, running

from twinplane.controlplane.controllers.contract import Context, Controller
from twinplane.controlplane.controllers.namespace.controller import NamespaceController
from twinplane.controlplane.controllers.serviceaccount.controller import (
    RootCertificatePublisher,
    ServiceAccountController,
)
from twinplane.kubeclient.meta import condition_of
from twinplane.kubeclient.resources import CONFIG_MAPS, NAMESPACES, PODS, SECRETS, SERVICE_ACCOUNTS
from twinplane.testing.virtual_time import VirtualClock, virtual_time

TYPES = [CONFIG_MAPS, SECRETS, PODS, SERVICE_ACCOUNTS]


def build(context: Context) -> Sequence[Controller]:
    return [
        NamespaceController(context, lambda: TYPES),
        ServiceAccountController(context),
        RootCertificatePublisher(context, "PEM"),
    ]


async def make(world: World, name: str = "shop") -> None:
    await world.cluster.create(NAMESPACES, {"metadata": {"name": name}})
    await world.settle()


@virtual_time
async def test_a_new_namespace_has_account_and_certificate(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await make(world)
        assert world.names(SERVICE_ACCOUNTS, "shop") == ["default"]
        assert world.one(CONFIG_MAPS, "kube-root-ca.crt", "shop")["data"] == {"ca.crt": "PEM"}


@virtual_time
async def test_both_come_back(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await make(world)
        await world.cluster.delete(SERVICE_ACCOUNTS, "default", "shop")
        await world.cluster.patch(CONFIG_MAPS, "kube-root-ca.crt", {"data": {"ca.crt": "other"}}, "shop")
        await world.settle()
        assert world.names(SERVICE_ACCOUNTS, "shop") == ["default"]
        assert world.one(CONFIG_MAPS, "kube-root-ca.crt", "shop")["data"] == {"ca.crt": "PEM"}


@virtual_time
async def test_deletion_empties_and_ends_it(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await make(world)
        await world.cluster.create(SECRETS, {"metadata": {"name": "s"}}, "shop")
        await world.cluster.create(PODS, {"metadata": {"name": "p"}, "spec": {"nodeName": "n"}}, "shop")
        await world.cluster.delete(NAMESPACES, "shop")
        await world.settle(3)
        assert world.names(NAMESPACES) == []
        assert [name for kind in TYPES for name in world.names(kind, "shop")] == []


@virtual_time
async def test_what_is_left_is_told(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await make(world)
        await world.cluster.create(SECRETS, {"metadata": {"name": "s", "finalizers": ["example.com/hold"]}}, "shop")
        await world.cluster.delete(NAMESPACES, "shop")
        await world.settle(3)
        namespace = world.one(NAMESPACES, "shop")
        assert namespace["status"]["phase"] == "Terminating"
        remaining = condition_of(namespace, "NamespaceContentRemaining")
        finalizers = condition_of(namespace, "NamespaceFinalizersRemaining")
        assert remaining is not None
        assert finalizers is not None
        assert remaining["message"] == "Some resources are remaining: secrets. has 1 resource instances"
        assert (
            finalizers["message"]
            == "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
        )
        await world.cluster.patch(SECRETS, "s", {"metadata": {"finalizers": None}}, "shop")
        await world.settle(20)
        assert world.names(NAMESPACES) == []


@virtual_time
async def test_pods_go_first(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        await make(world)
        held = {"metadata": {"name": "p", "finalizers": ["example.com/hold"]}, "spec": {}}
        await world.cluster.create(PODS, held, "shop")
        await world.cluster.create(SECRETS, {"metadata": {"name": "s"}}, "shop")
        await world.cluster.delete(NAMESPACES, "shop")
        await world.settle(10)
        assert world.names(SECRETS, "shop") == ["s"]
        await world.cluster.patch(PODS, "p", {"metadata": {"finalizers": None}}, "shop")
        await world.settle(20)
        assert "shop" not in world.names(NAMESPACES)
        assert world.names(SECRETS, "shop") == []
