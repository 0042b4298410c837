"""The plugin program and what it says to the agent, over a real socket; settings and the checkpoint."""

from __future__ import annotations

import asyncio
import json
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from twinplane.dataplane.network.cni import checkpoint, protocol
from twinplane.dataplane.network.cni.checkpoint import Known
from twinplane.dataplane.network.cni.interfaces import Network
from twinplane.dataplane.network.cni.pool import Interface, Limits, Owner, Pool
from twinplane.dataplane.network.cni.protocol import CniError, Request, Server, install, parse
from twinplane.dataplane.network.cni.settings import Settings


async def run(directory: Path, command: str) -> tuple[int, dict[str, Any]]:
    environment = {"CNI_COMMAND": command, "CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/x", "CNI_ARGS": "A=b;C=d"}
    ran = await asyncio.to_thread(
        partial(
            subprocess.run,
            [directory / "aws-cni"],
            env=environment,
            input='{"cniVersion": "0.4.0"}',
            text=True,
            capture_output=True,
            check=False,
        )
    )
    return ran.returncode, json.loads(ran.stdout) if ran.stdout else {}


async def test_the_program_carries_requests_and_answers(tmp_path: Path) -> None:
    seen: list[Request] = []

    async def answer(request: Request) -> dict[str, Any]:
        seen.append(request)
        if request.command == "ADD":
            raise CniError("add cmd: failed to assign an IP address to container")
        return {"ips": []} if request.command == "CHECK" else {}

    install(tmp_path / "s", tmp_path, tmp_path / "none")
    assert (await run(tmp_path, "VERSION"))[1]["supportedVersions"][-1] == "1.0.0"
    code, refused = await run(tmp_path, "ADD")
    assert code == 1
    assert "Unavailable" in refused["msg"]
    async with await Server(tmp_path / "s", answer).start():
        code, refused = await run(tmp_path, "ADD")
        assert code == 1
        assert refused == {
            "cniVersion": "0.4.0",
            "code": 100,
            "msg": "add cmd: failed to assign an IP address to container",
        }
        assert await run(tmp_path, "CHECK") == (0, {"cniVersion": "0.4.0", "ips": []})
        assert await run(tmp_path, "DEL") == (0, {})
    assert seen[0].arguments == {"A": "b", "C": "d"}
    assert seen[0].container == "c1"


@pytest.mark.parametrize("data", [b"", b"CNI_COMMAND=ADD", b"CNI_COMMAND=ADD\0\0[]", b"CNI_COMMAND=ADD\0\0{"])
def test_what_is_no_request(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(data)


def test_conflist(tmp_path: Path) -> None:
    protocol.write_conflist("eni", 9001, tmp_path)
    written = json.loads((tmp_path / "10-aws.conflist").read_text())
    assert (written["name"], written["plugins"][0]["type"]) == ("aws-cni", "aws-cni")
    protocol.remove_conflist(tmp_path)
    assert not list(tmp_path.iterdir())


def test_settings_are_the_add_ons() -> None:
    assert Settings.of({}) == Settings()
    made = Settings.of({"WARM_ENI_TARGET": "0", "WARM_IP_TARGET": "3", "AWS_VPC_K8S_CNI_EXTERNALSNAT": "true"})
    assert (made.warm_eni_target, made.warm_ip_target, made.external_snat) == (0, 3, True)
    assert Settings.of({"WARM_IP_TARGET": "many", "AWS_VPC_ENI_MTU": "70000"}) == Settings()


def test_checkpoint_keeps_everything(tmp_path: Path) -> None:
    owner = Owner("c1", "default", "web", "eni1", "02:00:00:00:00:01", (("tcp", "", 80, 8080),))
    interface = Interface("eni-1", 0, "02:00:00:00:00:09", "10.0.0.4", "a", 1.0, {"10.0.0.5": owner, "10.0.0.6": None})
    known = Known(
        Pool({"eni-1": interface}, {"10.0.0.6": 5.0}), Limits(3, 10, 29), Network(("10.0.0.0/16",), "10.0.0.0/24")
    )
    path = tmp_path / "ipam.json"
    assert checkpoint.read(path) is None
    checkpoint.write(path, known)
    assert checkpoint.read(path) == known
    path.write_text('{"version": 1}')
    assert checkpoint.read(path) is None
