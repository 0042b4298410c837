from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence

from tests.unit.controllers.world import World, running

from twinplane.controlplane.controllers.contract import Context, Controller
from twinplane.controlplane.controllers.serviceaccount import tokens
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import name_of, uid_of
from twinplane.kubeclient.resources import SECRETS, SERVICE_ACCOUNTS
from twinplane.testing.virtual_time import VirtualClock, virtual_time


def build(context: Context) -> Sequence[Controller]:
    return [tokens.TokensController(context, lambda account, secret: f"{name_of(account)}:{secret}", "PEM")]


def secret(name: str, account: str, **annotations: str) -> Object:
    metadata = {"name": name, "namespace": "default", "annotations": {tokens.ACCOUNT_NAME: account, **annotations}}
    return {"metadata": metadata, "type": tokens.TYPE}


def data(world: World, name: str) -> dict[str, str]:
    return {key: b64decode(value).decode() for key, value in world.one(SECRETS, name)["data"].items()}


@virtual_time
async def test_the_life_of_a_token(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        account = await world.cluster.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot"}}, "default")
        await world.cluster.create(SECRETS, secret("mine", "robot"))
        await world.cluster.create(SECRETS, secret("stale", "robot", **{tokens.ACCOUNT_UID: "another"}))
        await world.cluster.create(SECRETS, secret("orphan", "nobody"))
        await world.cluster.create(SECRETS, {"metadata": {"name": "other", "namespace": "default"}, "type": "Opaque"})
        await world.settle()
        assert world.names(SECRETS) == ["mine", "other"]
        assert data(world, "mine") == {"ca.crt": "PEM", "namespace": "default", "token": "robot:mine"}
        assert world.one(SECRETS, "mine")["metadata"]["annotations"][tokens.ACCOUNT_UID] == uid_of(account)
        await world.cluster.delete(SERVICE_ACCOUNTS, "robot", "default")
        await world.settle()
        assert world.names(SECRETS) == ["other"]
