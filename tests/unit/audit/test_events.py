"""Events of a whole API server at each level and stage, and the file that they are written to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from tests.unit.api.harness import Api, PolicyAuthorizer, api_server, config_map, pod
from tests.unit.audit.test_policy import policy
from tests.unit.auth.fakes import FixedClock
from twinplane.controlplane.admission.contract import AdmissionRequest
from twinplane.controlplane.admission.plugin import Plugin
from twinplane.controlplane.api.contract import Request, Response
from twinplane.controlplane.api.routing import route
from twinplane.controlplane.audit.audit import Audit
from twinplane.controlplane.audit.log import AuditLog
from twinplane.controlplane.auth.contract import UserInfo

MAPS = "/api/v1/namespaces/default/configmaps"
CLOCK = FixedClock(1_700_000_000.5)


class Annotating(Plugin):
    name = "Annotating"

    def handles(self, request: AdmissionRequest) -> bool:
        return True

    async def admit(self, request: AdmissionRequest) -> None:
        request.annotations["note.example.com"] = "seen"


@asynccontextmanager
async def audited(*rules: Any, **more: Any) -> AsyncIterator[tuple[Api, list[Any]]]:
    async with api_server() as api:
        events: list[Any] = []
        made = policy(*rules, **more)
        audit = Audit(made, lambda line: events.append(orjson.loads(line)), CLOCK, Random(3))
        yield Api(replace(api.runtime, audit=audit, admission=(Annotating(),))), events


async def test_metadata_of_a_create() -> None:
    async with audited({"level": "Metadata"}) as (api, events):
        response = await api.send("POST", f"{MAPS}?fieldManager=me", config_map("one"))
        received, complete = events
        assert (received["stage"], complete["stage"]) == ("RequestReceived", "ResponseComplete")
        assert "responseStatus" not in received
        assert complete == {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "auditID": response.headers["audit-id"],
            "stage": "ResponseComplete",
            "requestURI": f"{MAPS}?fieldManager=me",
            "verb": "create",
            "user": {"username": "admin", "groups": ["system:masters", "system:authenticated"]},
            "userAgent": "tests/1.0",
            "objectRef": {"resource": "configmaps", "namespace": "default", "name": "one", "apiVersion": "v1"},
            "responseStatus": {"metadata": {}, "code": 201},
            "requestReceivedTimestamp": "2023-11-14T22:13:20.500000Z",
            "stageTimestamp": "2023-11-14T22:13:20.500000Z",
            "annotations": {
                "authorization.k8s.io/decision": "allow",
                "authorization.k8s.io/reason": "",
                "note.example.com": "seen",
            },
        }


async def test_bodies_by_level() -> None:
    rules = (
        {"level": "Request", "verbs": ["create"]},
        {"level": "RequestResponse", "omitManagedFields": True, "verbs": ["get", "list"]},
        {"level": "RequestResponse"},
    )
    async with audited(*rules, omitStages=["RequestReceived"]) as (api, events):
        await api.send("POST", MAPS, config_map("one", {"x": "y"}))
        await api.send("GET", f"{MAPS}/one")
        await api.send("GET", MAPS)
        merge = {"content-type": "application/merge-patch+json"}
        await api.send("PATCH", f"{MAPS}/one", {"data": {"a": "b"}}, headers=merge)
        created, got, listed, patched = events
        assert created["requestObject"] == config_map("one", {"x": "y"})
        assert "responseObject" not in created
        assert "managedFields" not in got["responseObject"]["metadata"]
        assert "managedFields" not in listed["responseObject"]["items"][0]["metadata"]
        assert patched["requestObject"] == {"data": {"a": "b"}}
        assert patched["responseObject"]["metadata"]["managedFields"]


async def test_refusals() -> None:
    async with audited({"level": "RequestResponse"}, omitStages=["RequestReceived"]) as (api, events):
        await api.send("GET", f"{MAPS}/nosuch")
        await api.send("GET", MAPS, user=UserInfo("eve"))
        await api.send("POST", MAPS, b"{")
        missing, forbidden, broken = events
        assert missing["responseStatus"]["code"] == 404
        assert missing["responseStatus"]["message"] == 'configmaps "nosuch" not found'
        assert missing["responseObject"]["kind"] == "Status"
        assert forbidden["annotations"]["authorization.k8s.io/decision"] == "forbid"
        assert (forbidden["responseStatus"]["code"], broken["responseStatus"]["code"]) == (403, 400)


async def test_who_is_not_let_in_is_written_down() -> None:
    async with audited({"level": "Metadata"}) as (api, events):
        response = await api.send("GET", MAPS, user=None, token="wrong")
        assert response.status == 401
        (event,) = events
        assert (event["stage"], event["responseStatus"]["code"]) == ("ResponseStarted", 401)
        assert event["user"] == {"username": ""}


async def test_a_tunnel_ends_once() -> None:
    class Tunnel:
        async def join(self, client: Any) -> None:
            pass

        def write(self, data: bytes) -> None: ...

        pause = resume = close = lambda self: None

    events: list[Any] = []
    audit = Audit(policy({"level": "Metadata"}), lambda line: events.append(orjson.loads(line)), CLOCK, Random(3))

    async def serve(*_: Any) -> Response:
        return Response(101, tunnel=Tunnel())

    path = "/api/v1/namespaces/default/pods/x/exec"
    response = await audit.around(Request("POST", path, {}, {}), route("POST", path, {}), UserInfo("a"), serve)
    assert response.tunnel is not None
    await response.tunnel.join(asyncio.Transport())
    response.tunnel.close()
    assert [event["stage"] for event in events] == ["RequestReceived", "ResponseStarted", "ResponseComplete"]


async def test_a_watch_starts_and_ends() -> None:
    async with audited({"level": "Metadata"}) as (api, events):
        response = await api.send("GET", f"{MAPS}?watch=1")
        assert response.stream is not None
        assert [event["stage"] for event in events] == ["RequestReceived", "ResponseStarted"]
        await response.stream.aclose()  # type: ignore[attr-defined]  # every stream of the server has it
        assert events[-1]["stage"] == "ResponseComplete"
        assert len(events) == 3


async def test_impersonation_names_both() -> None:
    async with audited({"level": "Metadata", "users": ["admin"]}) as (api, events):
        await api.send("GET", MAPS, headers={"impersonate-user": "bob"})
        assert events[-1]["user"]["username"] == "admin"
        assert events[-1]["impersonatedUser"]["username"] == "bob"


async def test_a_defect_is_a_panic() -> None:
    class Broken(Plugin):
        name = "Broken"

        def handles(self, request: AdmissionRequest) -> bool:
            raise RuntimeError("a defect")

    async with audited({"level": "Metadata"}) as (api, events):
        broken = Api(replace(api.runtime, admission=(Broken(),)))
        assert (await broken.send("POST", MAPS, config_map("one"))).status == 500
        assert events[-1]["stage"] == "Panic"


async def test_what_no_rule_wants_is_not_written() -> None:
    async with audited({"level": "None", "resources": [{"resources": ["configmaps"]}]}) as (api, events):
        await api.send("GET", MAPS)
        await api.send("GET", "/api/v1/namespaces/default/pods", pod("x"))
        assert events == []


async def test_off_by_default() -> None:
    async with api_server(authorizer=PolicyAuthorizer()) as api:
        assert "audit-id" not in (await api.send("GET", MAPS)).headers


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


async def written(log: AuditLog, *lines: bytes) -> None:
    task = asyncio.create_task(log.run())
    for line in lines:
        log.write(line)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def contents(path: Path) -> bytes:
    return path.read_bytes()


async def test_the_writer_writes_everything_before_it_ends(path: Path) -> None:
    await written(AuditLog(path, CLOCK), b"one\n", b"two\n")
    assert contents(path) == b"one\ntwo\n"


async def test_a_full_buffer_drops_and_counts(path: Path) -> None:
    log = AuditLog(path, CLOCK, capacity=2)
    await written(log, b"1\n", b"2\n", b"3\n")
    assert log.dropped == 1
    assert contents(path) == b"1\n2\n"


async def test_rotation_keeps_some_backups(path: Path) -> None:
    clock = FixedClock()
    for number in range(5):
        clock.time += 1
        await written(AuditLog(path, clock, max_bytes=10, backups=2), b"line %d\n" % number)
    assert contents(path) == b"line 4\n"
    kept = sorted(os.listdir(path.parent))[:-1]
    assert kept == ["audit-2023-11-14T22-13-24.000.log", "audit-2023-11-14T22-13-25.000.log"]


async def test_a_disk_that_fails_is_counted(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "nosuch" / "audit.log", CLOCK)
    await written(log, b"lost\n")
    assert log.dropped == 1
