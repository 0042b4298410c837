"""The small parts of throwaway clusters: coming to rest, kubeconfigs, credentials, the account in memory."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from pathlib import Path

import pytest
from cryptography import x509

from twinplane.controlplane.auth.contract import Credentials, UserInfo
from twinplane.dataplane.aws import AwsError
from twinplane.testing.credentials import StaticTokens, shared
from twinplane.testing.kubeconfigs import UnusableKubeconfig, encoded, kubeconfig, read_kubeconfig
from twinplane.testing.memory_account import MemoryAccount, instance_type_facts
from twinplane.testing.settling import NotSettled, State, settle
from twinplane.testing.virtual_time import VirtualClock, virtual_time


@virtual_time
async def test_rest_is_waited_for(clock: VirtualClock) -> None:
    began = clock.now()

    def state() -> State:
        passed = clock.now() - began
        if passed < 0.1:
            return State(["scheduler"], None, 1)
        return State([], 1.5 - passed if passed < 1.5 else 60.0, 2)

    await settle(state, timeout=10)
    # Busy first, then put off for a moment; what is due in a minute is not waited for.
    assert 1.5 <= clock.now() - began < 1.6


@virtual_time
async def test_endless_work_is_named() -> None:
    with pytest.raises(NotSettled, match=r"did not settle in 3 s, because of scheduler, events"):
        await settle(lambda: State(["scheduler", "events"], None, 1), timeout=3)
    with pytest.raises(NotSettled, match="what was put off"):
        await settle(lambda: State([], 1.0, 1), timeout=3)


async def test_writes_that_never_end_are_named() -> None:
    revisions = iter(range(10**9))
    with pytest.raises(NotSettled, match="what was just written"):
        await settle(lambda: State([], None, next(revisions)), timeout=0.02)


def test_kubeconfig_is_read_as_written(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(kubeconfig("https://127.0.0.1:1", shared().authority, {"token": "secret"}))
    access = read_kubeconfig(path)
    assert (access.url, access.token) == ("https://127.0.0.1:1", "secret")
    assert access.context is not None
    assert len(access.context.get_ca_certs()) == 1


def test_kubeconfig_with_files_and_a_credential_plugin(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text(shared().authority)
    body = json.loads(kubeconfig("https://example", "", {}))
    body["clusters"][0]["cluster"] = {"server": "https://example", "certificate-authority": "ca.crt"}
    plugin = {"command": "aws", "args": ["eks", "get-token"], "env": [{"name": "AWS_PROFILE", "value": "a"}]}
    body["users"][0]["user"] = {"exec": plugin}
    path = tmp_path / "config"
    path.write_text(json.dumps(body))
    access = read_kubeconfig(path)
    assert access.command == ("aws", "eks", "get-token")
    assert access.environment == (("AWS_PROFILE", "a"),)


@pytest.mark.parametrize("text", ["", "[]", "a: b", "current-context: x\ncontexts: []", "{"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(UnusableKubeconfig):
        read_kubeconfig(path)


def test_client_certificates_name_user_and_groups() -> None:
    issued = shared().client_certificate("jane", ["team", "other"])
    certificate = x509.load_pem_x509_certificate(issued.certificate.encode())
    authority = x509.load_pem_x509_certificate(shared().authority.encode())
    certificate.verify_directly_issued_by(authority)
    assert certificate.subject.rfc4514_string() == "CN=jane,O=other,O=team"
    assert base64.b64decode(encoded(issued.key)).startswith(b"-----BEGIN PRIVATE KEY-----")


def test_keys_are_made_once() -> None:
    assert shared() is shared()


async def test_static_tokens() -> None:
    tokens = StaticTokens({"secret": UserInfo("jane")})
    assert await tokens.authenticate(Credentials("secret")) == UserInfo("jane")
    assert await tokens.authenticate(Credentials("other")) is None
    assert await tokens.authenticate(Credentials()) is None


@pytest.mark.parametrize(
    ("name", "vcpus", "memory", "architecture"),
    [
        ("m5.large", 2, 8192, "x86_64"),
        ("t3.medium", 2, 4096, "x86_64"),
        ("c6g.xlarge", 4, 8192, "arm64"),
        ("r7i.24xlarge", 96, 786432, "x86_64"),
    ],
)
def test_instance_types(name: str, vcpus: int, memory: int, architecture: str) -> None:
    facts = instance_type_facts(name)
    assert (facts["vcpus"], facts["memoryMiB"], facts["architecture"]) == (vcpus, memory, architecture)


@pytest.mark.parametrize("name", ["", "m5", "m5.huge", "z1.large", "t3.24xlarge"])
def test_unknown_instance_types_are_refused_as_ec2_does(name: str) -> None:
    with pytest.raises(AwsError, match="do not exist"):
        instance_type_facts(name)


async def test_account_gives_addresses_all_or_none() -> None:
    account = MemoryAccount("10.0.0.0/29")
    account.start(1)
    taken = await account.ec2(
        "AssignPrivateIpAddresses", {"NetworkInterfaceId": "eni-x", "SecondaryPrivateIpAddressCount": "1"}
    )
    assert taken.findtext(".//privateIpAddress") == "10.0.0.5"
    more = {"NetworkInterfaceId": "eni-x", "SecondaryPrivateIpAddressCount": "2"}
    with pytest.raises(AwsError, match="InsufficientFreeAddressesInSubnet"):
        await account.ec2("AssignPrivateIpAddresses", more)
    await account.ec2("UnassignPrivateIpAddresses", {"NetworkInterfaceId": "eni-x", "PrivateIpAddress.1": "10.0.0.5"})
    await account.ec2("AssignPrivateIpAddresses", more)


async def test_account_tells_of_changes_at_once() -> None:
    account = MemoryAccount()
    first = await account.get("/instances?after=0")
    waiting = asyncio.create_task(account.get(f"/instances?after={first['revision']}"))
    await asyncio.sleep(0)
    assert not waiting.done()
    account.start(1)
    assert len((await waiting)["instances"]) == 1
    account.terminate(f"i-{1:017x}")
    (instance,) = (await account.get("/instances?after=0"))["instances"]
    assert instance["state"] == "terminated"


@virtual_time
async def test_virtual_time_stands_still_while_a_thread_works(clock: VirtualClock) -> None:
    began = clock.now()
    async with asyncio.timeout(10):
        await asyncio.to_thread(time.sleep, 0.02)
    assert clock.now() == began
    await asyncio.sleep(10)
    assert clock.now() == began + 10
