"""The agent that pods ask for credentials with their token."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from twinplane.dataplane.node.pod_identity_agent import PodIdentityAgent
from twinplane.region.ports import free_ports


class Clock:
    time = 1_800_000_000.0

    def now(self) -> float:
        return self.time


class Auth:
    """EKS Auth, which knows one token."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.asked: list[tuple[str, str]] = []
        self.away = False

    async def post_json(self, service: str, path: str, content: Any) -> tuple[int, bytes]:
        self.asked.append((service, path))
        if self.away:
            raise ConnectionError("refused")
        if content != {"token": "good"}:
            return 400, orjson.dumps({"message": "Token expired"})
        credentials = {
            "accessKeyId": "ASIA1",
            "secretAccessKey": f"secret-{len(self.asked)}",
            "sessionToken": "session",
            "expiration": self.clock.time + 6 * 3600,
        }
        user = {"arn": "arn:aws:sts::123456789012:assumed-role/app/eks-c-p", "assumeRoleId": "AROA1:x"}
        return 200, orjson.dumps({"credentials": credentials, "assumedRoleUser": user})


def parts() -> tuple[PodIdentityAgent, Auth]:
    clock = Clock()
    auth = Auth(clock)
    return PodIdentityAgent("my cluster", auth, clock), auth


async def test_credentials_are_kept_until_an_hour_before_their_end() -> None:
    agent, auth = parts()
    status, body = await agent.answer("GET", "/v1/credentials", "good")
    assert status == 200
    assert orjson.loads(body) == {
        "AccessKeyId": "ASIA1",
        "SecretAccessKey": "secret-1",
        "Token": "session",
        "AccountId": "123456789012",
        "Expiration": "2027-01-15T14:00:00Z",
    }
    assert await agent.answer("GET", "/v1/credentials", "good") == (200, body)
    assert auth.asked == [("eks-auth", "/clusters/my%20cluster/assume-role-for-pod-identity")]
    auth.clock.time += 5.1 * 3600
    assert b"secret-2" in (await agent.answer("GET", "/v1/credentials", "good"))[1]


@pytest.mark.parametrize(
    ("method", "path", "token", "expected"),
    [
        ("GET", "/v1/credentials", "", (400, b"Service account token cannot be empty\n")),
        ("GET", "/v1/credentials", "bad", (400, b"Token expired\n")),
        ("POST", "/v1/credentials", "good", (405, b"Method Not Allowed\n")),
        ("GET", "/", "good", (404, b"404 page not found\n")),
    ],
)
async def test_what_is_refused(method: str, path: str, token: str, expected: tuple[int, bytes]) -> None:
    agent, _ = parts()
    assert await agent.answer(method, path, token) == expected


async def test_while_the_region_is_away() -> None:
    agent, auth = parts()
    auth.away = True
    assert (await agent.answer("GET", "/v1/credentials", "good"))[0] == 500
    auth.away = False
    assert (await agent.answer("GET", "/v1/credentials", "good"))[0] == 200


async def test_over_a_socket() -> None:
    agent, _ = parts()
    (port,) = free_ports(1, "127.0.0.1")
    running = asyncio.create_task(agent.listen("127.0.0.1", port))
    try:
        async with asyncio.timeout(60):
            while True:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    break
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)
        writer.write(b"GET /v1/credentials HTTP/1.1\r\nHost: 169.254.170.23\r\nAuthorization: good\r\n\r\n")
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert orjson.loads(answer.split(b"\r\n\r\n", 1)[1])["Token"] == "session"
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"nonsense\r\n\r\n")
        assert await reader.read() == b""
        writer.close()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
