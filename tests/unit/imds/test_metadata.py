"""IMDSv2 as SDKs and nodes use it: tokens, listings, credentials, hop limit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from twinplane.cloud.contract import AwsCredentials, Instance
from twinplane.cloud.imds.facts import Facts, Interface
from twinplane.cloud.imds.metadata import TOKEN, TTL, Metadata, MetadataService

INSTANCE = Instance(
    "i-1",
    "running",
    "m5.large",
    "ami-1",
    "192.168.0.6",
    "ip-192-168-0-6",
    "vpc-1",
    "subnet-1",
    "us-west-2a",
    "eni-1",
    0,
)
INTERFACE = Interface(
    mac="02:00:00:00:00:01",
    device_number=0,
    interface_id="eni-1",
    owner_id="123456789012",
    addresses=("192.168.0.6", "192.168.0.25"),
    public_addresses=(),
    private_dns_name="ip-192-168-0-6.us-west-2.compute.internal",
    subnet_id="subnet-1",
    subnet_cidr="192.168.0.0/19",
    vpc_id="vpc-1",
    vpc_cidrs=("192.168.0.0/16",),
    security_groups=(("sg-1", "eks-cluster-sg"),),
)
FACTS = Facts(
    instance_id="i-1",
    account_id="123456789012",
    region="us-west-2",
    image_id="ami-1",
    instance_type="m5.large",
    architecture="x86_64",
    launch_time="2026-11-23T12:00:00Z",
    availability_zone="us-west-2a",
    availability_zone_id="usw2-az1",
    private_dns_name="ip-192-168-0-6.us-west-2.compute.internal",
    public_dns_name="",
    interfaces=(INTERFACE,),
    user_data="#!/bin/sh",
    role="NodeInstanceRole",
    hop_limit=2,
)


class Clock:
    time = 1_800_000_000.0

    def now(self) -> float:
        return self.time


class Region:
    """The service over facts that a test may change, with the credentials that it issued."""

    def __init__(self, facts: Facts = FACTS) -> None:
        self.clock = Clock()
        self.facts = facts
        self.issued: list[tuple[str, str, float]] = []
        self.service = MetadataService(lambda instance: self.facts, self._issue, b"secret", self.clock)

    def _issue(self, role: str, session: str, expiration: float) -> AwsCredentials:
        self.issued.append((role, session, expiration))
        return AwsCredentials("ASIA1", f"secret-{len(self.issued)}", "token")

    async def ask(self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Metadata:
        return await self.service.answer(INSTANCE, method, path, headers or {})

    async def token(self, seconds: str = "60") -> str:
        answer = await self.ask("/latest/api/token", "PUT", {TTL: seconds})
        assert answer.status == 200
        return answer.body

    async def get(self, path: str) -> str:
        answer = await self.ask(path, headers={TOKEN: await self.token()})
        assert answer.status == 200
        return answer.body


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/latest/meta-data/instance-id", "i-1"),
        ("/latest/meta-data/placement/region", "us-west-2"),
        ("/latest/meta-data/local-ipv4", "192.168.0.6"),
        ("/latest/meta-data/mac", "02:00:00:00:00:01"),
        ("/latest/meta-data/network/interfaces/macs/", "02:00:00:00:00:01/"),
        ("/latest/meta-data/network/interfaces/macs/02:00:00:00:00:01/local-ipv4s", "192.168.0.6\n192.168.0.25"),
        ("/latest/meta-data/network/interfaces/macs/02:00:00:00:00:01/vpc-ipv4-cidr-blocks", "192.168.0.0/16"),
        ("/latest/meta-data/iam/security-credentials/", "NodeInstanceRole"),
        ("/latest/user-data", "#!/bin/sh"),
        ("/", "1.0\n2021-03-23\n2022-09-24\nlatest"),
    ],
)
async def test_paths(path: str, text: str) -> None:
    assert await Region().get(path) == text


async def test_a_directory_lists_its_entries() -> None:
    entries = (await Region().get("/latest/meta-data/")).split("\n")
    assert entries == sorted(entries)
    assert {"iam/", "network/", "placement/", "instance-id"} <= set(entries)
    assert "public-ipv4" not in entries


async def test_the_identity_document() -> None:
    document = json.loads(await Region().get("/latest/dynamic/instance-identity/document"))
    assert (document["instanceId"], document["region"], document["accountId"]) == ("i-1", "us-west-2", "123456789012")


async def test_without_a_token_nothing_is_told() -> None:
    region = Region()
    assert (await region.ask("/latest/meta-data/instance-id")).status == 401
    assert (await region.ask("/latest/meta-data/instance-id", headers={TOKEN: "made-up"})).status == 401
    of_another = Region(replace(FACTS, instance_id="i-2"))
    stolen = {TOKEN: await of_another.token()}
    assert (await of_another.ask("/latest/meta-data/instance-id", headers=stolen)).status == 200
    assert (await region.ask("/latest/meta-data/instance-id", headers=stolen)).status == 401


async def test_version_1_where_the_instance_allows_it() -> None:
    region = Region(replace(FACTS, tokens_required=False))
    assert (await region.ask("/latest/meta-data/instance-id")).body == "i-1"
    assert (await region.ask("/latest/meta-data/instance-id", headers={TOKEN: "made-up"})).status == 401


async def test_a_token_ends() -> None:
    region = Region()
    token = await region.token("30")
    region.clock.time += 29
    assert (await region.ask("/latest/meta-data/mac", headers={TOKEN: token})).status == 200
    region.clock.time += 2
    assert (await region.ask("/latest/meta-data/mac", headers={TOKEN: token})).status == 401


@pytest.mark.parametrize("seconds", ["", "0", "21601", "soon", "-1"])
async def test_a_token_needs_a_life(seconds: str) -> None:
    assert (await Region().ask("/latest/api/token", "PUT", {TTL: seconds})).status == 400


async def test_proxies_get_no_token_and_the_answer_travels_no_further_than_allowed() -> None:
    region = Region()
    proxied = {TTL: "60", "x-forwarded-for": "10.0.0.1"}
    assert (await region.ask("/latest/api/token", "PUT", proxied)).status == 403
    assert (await region.ask("/latest/api/token", "PUT", {TTL: "60"})).hops == 2


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/latest/meta-data/none", "GET", 404),
        ("/1999-01-01/meta-data/mac", "GET", 404),
        ("/latest/meta-data/mac/more", "GET", 404),
        ("/latest/meta-data/tags/instance", "GET", 404),
        ("/latest/meta-data/mac", "POST", 405),
        ("/latest/meta-data/mac", "PUT", 405),
    ],
)
async def test_what_is_refused(path: str, method: str, status: int) -> None:
    region = Region()
    assert (await region.ask(path, method, {TOKEN: await region.token()})).status == status


async def test_a_disabled_service_refuses_all() -> None:
    region = Region(replace(FACTS, enabled=False))
    assert (await region.ask("/latest/api/token", "PUT", {TTL: "60"})).status == 403


async def test_credentials_are_kept_and_renewed_before_they_end() -> None:
    region = Region()
    path = "/latest/meta-data/iam/security-credentials/NodeInstanceRole"
    first = json.loads(await region.get(path))
    assert first["Code"] == "Success"
    assert json.loads(await region.get(path)) == first
    region.clock.time += 5.5 * 3600
    assert json.loads(await region.get(path))["SecretAccessKey"] == "secret-2"
    assert [(role, session) for role, session, _ in region.issued] == [("NodeInstanceRole", "i-1")] * 2


async def test_facts_are_read_again_after_a_change() -> None:
    region = Region()
    assert await region.get("/latest/meta-data/instance-type") == "m5.large"
    region.facts = replace(FACTS, instance_type="m5.xlarge")
    assert await region.get("/latest/meta-data/instance-type") == "m5.large"
    region.service.forget()
    assert await region.get("/latest/meta-data/instance-type") == "m5.xlarge"
