"""The internal API, and the long poll behind it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.unit.cloud.regions import ACCOUNT, Region, in_thread, network
from tests.unit.cloud.test_gate import get
from twinplane.cloud.contract import AwsCredentials
from twinplane.cloud.endpoint.feed import Feed
from twinplane.sigv4 import Signer
from twinplane.testing.virtual_time import VirtualClock, virtual_time


@virtual_time
async def test_a_poll_is_answered_at_once_when_news_and_in_time_when_not(clock: VirtualClock) -> None:
    feed, value = Feed(100), ["a"]
    start = clock.now()
    assert await feed.poll("topic", lambda: list(value), 0, 30) == (100, ["a"])
    assert clock.now() == start
    assert await feed.poll("topic", lambda: list(value), 100, 30) == (100, ["a"])
    assert clock.now() == start + 30


@virtual_time
async def test_a_change_wakes_only_those_whom_it_concerns(clock: VirtualClock) -> None:
    feed, values = Feed(1), {"x": 1, "y": 1}

    async def poll(topic: str) -> tuple[int, Any, float]:
        revision, value = await feed.poll(topic, lambda: values[topic], 1, 10)
        return revision, value, clock.now() - start

    start = clock.now()
    polls = asyncio.gather(poll("x"), poll("y"))
    await asyncio.sleep(2)
    feed.update()
    values["x"] = 2
    feed.update()
    assert list(await polls) == [(2, 2, 2.0), (1, 1, 10.0)]


async def ask(region: Region, path: str, keys: AwsCredentials | None = None) -> tuple[int, Any]:
    credentials = keys or region.cloud.issue_service_credentials(f"arn:aws:sts::{ACCOUNT}:assumed-role/node/i-1")
    signer = Signer(
        credentials.access_key_id,
        credentials.secret_access_key,
        credentials.session_token,
        "us-west-2",
        "execute-api",
    )
    url = region.cloud.endpoint_url + path
    import time

    status, body = await in_thread(get, url, signer.headers("GET", url, time.time()))
    return status, json.loads(body)


async def test_instance_types(region: Region) -> None:
    status, facts = await ask(region, "/_twinplane/instance-types/m5.large")
    assert status == 200
    assert (
        facts.items()
        >= {
            "vcpus": 2,
            "memoryMiB": 8192,
            "enis": 3,
            "ipv4PerEni": 10,
            "architecture": "x86_64",
            "maxPods": 29,
        }.items()
    )
    assert (await ask(region, "/_twinplane/instance-types/m5.huge"))[0] == 404


async def test_the_instance_feed_tells_of_a_new_instance(region: Region) -> None:
    place = await network(region, zones="a")
    path = "/_twinplane/clusters/demo/instances"
    _, first = await ask(region, path)
    assert first["instances"] == []
    waiting = asyncio.create_task(ask(region, f"{path}?after={first['revision']}&timeout=20"))
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "eks:cluster-name", "Value": "demo"}]}]
    await region.call(
        "ec2",
        "run_instances",
        ImageId="ami-12345678",
        InstanceType="m5.large",
        SubnetId=place.subnets[0],
        MinCount=1,
        MaxCount=1,
        TagSpecifications=tags,
    )
    _, news = await waiting
    assert news["revision"] > first["revision"]
    assert [(one["state"], one["private_ip"], one["cluster"]) for one in news["instances"]] == [
        ("running", "192.168.0.4", "demo")
    ]


async def test_who_may_ask(region: Region) -> None:
    path = "/_twinplane/instance-types/m5.large"
    url = region.cloud.endpoint_url + path
    assert (await in_thread(get, url))[0] == 403
    secret = region.cloud.credentials.secret_access_key
    assert (await in_thread(get, url, {"Authorization": f"Bearer {secret}"}))[0] == 200
    assert (await in_thread(get, url, {"Authorization": "Bearer x"}))[0] == 400
    assert (await ask(region, path, region.cloud.credentials))[0] == 200
    await region.call("iam", "create_user", UserName="dev")
    made = (await region.call("iam", "create_access_key", UserName="dev"))["AccessKey"]
    assert (await ask(region, path, AwsCredentials(made["AccessKeyId"], made["SecretAccessKey"])))[0] == 403


async def test_other_parts_of_the_daemon_publish(region: Region) -> None:
    async def status() -> dict[str, str]:
        return {"state": "running"}

    region.cloud.publish("/_twinplane/status", status)
    assert await ask(region, "/_twinplane/status") == (200, {"state": "running"})
    assert (await ask(region, "/_twinplane/nothing"))[0] == 404
    assert (await ask(region, "/_twinplane/clusters/none/access-entries"))[0] == 404
    assert (await ask(region, "/_twinplane/clusters/none/instances?after=x"))[0] == 400
