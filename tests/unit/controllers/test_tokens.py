from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from datetime import UTC, datetime

from tests.unit.controllers.world import World, running

from twinplane.controlplane.auth.legacy_token_use import INVALID_SINCE, LAST_USED
from twinplane.controlplane.controllers.contract import Context, Controller
from twinplane.controlplane.controllers.serviceaccount import legacy, tokens
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import labels_of, name_of, uid_of
from twinplane.kubeclient.resources import CONFIG_MAPS, PODS, SECRETS, SERVICE_ACCOUNTS
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


def build_legacy(context: Context) -> Sequence[Controller]:
    return [legacy.LegacyTokenTracking(context), legacy.LegacyTokenCleaner(context)]


def mounting(name: str) -> Object:
    volumes = [{"name": "token", "secret": {"secretName": name}}]
    return {"metadata": {"name": "p", "namespace": "default"}, "spec": {"volumes": volumes, "containers": []}}


@virtual_time
async def test_generated_tokens_that_nobody_uses_are_marked_and_then_deleted(clock: VirtualClock) -> None:
    old, today = "2015-01-01", datetime.fromtimestamp(clock.now(), UTC).date().isoformat()
    async with running(clock, build_legacy) as world:
        metadata = {"name": legacy.TRACKING, "namespace": "kube-system"}
        world.cluster.seed(CONFIG_MAPS, {"metadata": metadata, "data": {"since": old}})
        names = ("unused", "mounted", "used", "long-ago")
        account = {"metadata": {"name": "robot"}, "secrets": [{"name": name} for name in names]}
        await world.cluster.create(SERVICE_ACCOUNTS, account, "default")
        labels = {"used": {LAST_USED: today}, "long-ago": {LAST_USED: old, INVALID_SINCE: old}}
        for name in (*names, "mine"):
            body = secret(name, "robot")
            body["metadata"] |= {"creationTimestamp": f"{old}T00:00:00Z", "labels": labels.get(name, {})}
            world.cluster.seed(SECRETS, body)
        await world.cluster.create(PODS, mounting("mounted"))
        await world.settle(86_500)
        marked = [name for name in world.names(SECRETS) if INVALID_SINCE in labels_of(world.one(SECRETS, name))]
        assert marked == ["unused"]
        assert set(world.names(SECRETS)) == {"unused", "mounted", "used", "mine"}


@virtual_time
async def test_the_day_since_when_use_is_noted_is_kept(clock: VirtualClock) -> None:
    async with running(clock, build_legacy) as world:
        await world.settle()
        await world.cluster.patch(CONFIG_MAPS, legacy.TRACKING, {"data": {"since": "yesterday"}}, "kube-system")
        await world.settle()
        assert world.one(CONFIG_MAPS, legacy.TRACKING, "kube-system")["data"]["since"].count("-") == 2
        await world.cluster.delete(CONFIG_MAPS, legacy.TRACKING, "kube-system")
        await world.settle()
        assert world.one(CONFIG_MAPS, legacy.TRACKING, "kube-system")["data"]["since"]
