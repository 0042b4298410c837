"""A real Envoy between a client and small targets: classic, network and application load balancers carry bytes."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.unit.loadbalancing.backends import Account, FixedReach, backend, get
from tests.unit.loadbalancing.examples import alb, classic, listener, nlb, rule, target_group
from twinplane.clock import SystemClock
from twinplane.cloud.loadbalancing.aliases import Aliases
from twinplane.cloud.loadbalancing.contract import (
    Action,
    Certificate,
    Condition,
    LoadBalancer,
    Snapshot,
    SocketAddress,
    Target,
    TargetGroup,
)
from twinplane.cloud.loadbalancing.envoy import Envoy, EnvoyProcess
from twinplane.cloud.loadbalancing.loop import LoadBalancing


class Region:
    """A running data path whose account is a snapshot that the test replaces."""

    def __init__(self, data_dir: Path, read: Callable[[], Snapshot] | None, binary: Path | None) -> None:
        self.account = Account()
        self.snapshot = Snapshot()
        self.reach = FixedReach({})
        aliases = Aliases(data_dir / "aliases.json", SystemClock())
        envoy = Envoy(data_dir / "loadbalancing" / "envoy", binary)

        async def current() -> Snapshot:
            return read() if read else self.snapshot

        self.balancing = LoadBalancing(data_dir, self.account, current, self.reach, aliases, envoy=envoy)

    async def serve(self, balancers: list[LoadBalancer], groups: list[TargetGroup]) -> None:
        self.snapshot = Snapshot(tuple(balancers), {group.arn: group for group in groups})
        self.account.changed()
        wanted = sum(len(balancer.listeners) for balancer in balancers)
        await until(self.balancing.envoy.listening, lambda found: len(found) >= wanted)
        await until(self._states, lambda states: "initial" not in states)

    async def _states(self) -> set[str]:
        described = await self.balancing.describe()
        return {target["state"] for entry in described for target in entry["targets"]}

    async def address(self, name: str, port: int = 80) -> SocketAddress:
        for entry in await self.balancing.describe():
            for found in entry["listeners"]:
                if entry["name"] == name and found["port"] == port:
                    return socket_of(found["url"], port)
        raise AssertionError(f"no load balancer {name}")

    async def url_of(self, dns_name: str) -> SocketAddress | None:
        """Where the first listener of the load balancer with that name is."""
        for entry in await self.balancing.describe():
            if entry["dns_name"] == dns_name and entry["urls"]:
                return socket_of(entry["urls"][0], 80)
        return None


def socket_of(url: str, port: int) -> SocketAddress:
    host, _, bound = url.split("//")[1].rstrip("/").partition(":")
    return host, int(bound or port)


async def until(look: Callable[[], object], good: Callable[..., bool]) -> None:
    for _ in range(2400):
        found = look()
        if good(await found if asyncio.iscoroutine(found) else found):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come true in two minutes")


@asynccontextmanager
async def region(
    data_dir: Path, read: Callable[[], Snapshot] | None = None, binary: Path | None = None
) -> AsyncIterator[Region]:
    made = Region(data_dir, read, binary)
    task = asyncio.create_task(made.balancing.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_three_kinds_answer_and_spread(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(backend(name)) for name in ("one", "two")]
        made = await stack.enter_async_context(region(tmp_path))
        made.reach.table = {Target("i-1", 30080): one, Target("i-2", 30080): two}
        targets = [Target("i-1", 30080), Target("i-2", 30080)]
        groups = [
            target_group("classic-tcp", "TCP", targets),
            target_group("nlb-web", "TCP", targets),
            target_group("shop", "HTTP", [targets[0]]),
            target_group("api", "HTTP", [targets[1]]),
            target_group("empty", "HTTP", []),
        ]
        rules = (
            rule(1, Action("forward", ((groups[3].arn, 1),)), Condition("path-pattern", ("/api/*", "/v?/api"))),
            rule(2, Action("forward", ((groups[4].arn, 1),)), Condition("host-header", ("*.empty.example",))),
            rule(3, Action("fixed-response", settings=FIXED), Condition("path-pattern", ("/teapot",))),
            rule(4, Action("redirect", settings=REDIRECT), Condition("path-pattern", ("/old/*",))),
            rule(5, Action("forward", ((groups[3].arn, 1),)), Condition("query-string", pairs=(("to", "ap?"),))),
            rule(6, Action("fixed-response", settings=FIXED), Condition("source-ip", ("127.0.0.0/8",)), ONLY_LOCAL),
        )
        await made.serve(
            [
                classic("classic", [listener(80, "TCP", groups[0])]),
                nlb("net", [listener(80, "TCP", groups[1])]),
                alb("app", [listener(80, "HTTP", groups[2], *rules)]),
            ],
            groups,
        )
        for name in ("classic", "net"):
            address = await made.address(name)
            answers = Counter([(await get(address)).json()["target"] for _ in range(20)])
            assert set(answers) == {"one", "two"}, name

        app = await made.address("app")
        shop = await get(app, "/", x_forwarded_for="10.9.8.7")
        seen = shop.json()["headers"]
        assert isinstance(seen, dict)
        assert shop.json()["target"] == "one"
        assert seen["host"] == "shop.example.com"
        assert seen["x-forwarded-for"] == "10.9.8.7,127.0.0.1"
        assert (seen["x-forwarded-proto"], seen["x-forwarded-port"]) == ("http", "80")
        assert not [name for name in seen if "envoy" in name or name == "x-request-id"]
        assert "server" not in shop.headers

        assert (await get(app, "/api/carts?id=1")).json()["target"] == "two"
        assert (await get(app, "/v2/api")).json()["target"] == "two"
        assert (await get(app, "/v22/api")).json()["target"] == "one"
        assert (await get(app, "/?from=x&TO=apX")).json()["target"] == "two"

        unavailable = await get(app, "/", host="a.EMPTY.example:80")
        assert (unavailable.status, unavailable.headers["server"]) == (503, "awselb/2.0")
        assert unavailable.headers["content-type"] == "text/html"

        teapot = await get(app, "/teapot")
        assert (teapot.status, teapot.body, teapot.headers["content-type"]) == (
            418,
            '{"100%": true}',
            FIXED["ContentType"],
        )
        local = await get(app, "/only-local")
        assert local.status == 418

        moved = await get(app, "/old/page?a=b")
        assert (moved.status, moved.headers["location"]) == (301, "https://shop.example.com:443/new/old/page?a=b")


FIXED = {"StatusCode": "418", "MessageBody": '{"100%": true}', "ContentType": "application/json"}
REDIRECT = {"Protocol": "HTTPS", "Port": "443", "Path": "/new/#{path}", "StatusCode": "HTTP_301"}
ONLY_LOCAL = Condition("path-pattern", ("/only-local",))


async def test_targets_move_without_a_new_listener_and_envoy_comes_back(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(backend(name)) for name in ("one", "two")]
        made = await stack.enter_async_context(region(tmp_path))
        made.reach.table = {Target("10.0.0.1", 80): one, Target("10.0.0.2", 80): two}
        first = target_group("web", "HTTP", [Target("10.0.0.1", 80)])
        balancer = alb("app", [listener(80, "HTTP", first)])
        await made.serve([balancer], [first])
        address = await made.address("app")
        assert (await get(address)).json()["target"] == "one"

        await made.serve([balancer], [target_group("web", "HTTP", [Target("10.0.0.2", 80)])])
        await until(lambda: get(address), lambda response: response.json()["target"] == "two")

        crashed = made.balancing.envoy.pid
        assert crashed is not None
        os.kill(crashed, signal.SIGKILL)
        await until(lambda: made.balancing.envoy.pid, lambda pid: pid not in (None, crashed))
        await until(made.balancing.envoy.listening, lambda found: len(found) == 1)
        assert (await get(address)).json()["target"] == "two"

        await_stop = made.balancing.envoy
        await made.serve([], [])
        await until(lambda: await_stop.pid, lambda pid: pid is None)


async def test_an_unhealthy_target_gets_nothing_and_the_state_says_so(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(backend("one"))
        made = await stack.enter_async_context(region(tmp_path))
        good, dead, unknown = Target("i-1", 80), Target("i-2", 80), Target("i-3", 80)
        made.reach.table = {good: one, dead: ("127.0.0.1", 1)}
        group = target_group("web", "TCP", [good, dead, unknown])
        await made.serve([nlb("net", [listener(80, "TCP", group)])], [group])
        states = (await made.balancing.target_health())[group.arn]
        assert {target.id: state for target, (state, _) in states.items()} == {
            "i-1": "healthy",
            "i-2": "unhealthy",
            "i-3": "unused",
        }
        address = await made.address("net")
        assert {(await get(address)).json()["target"] for _ in range(10)} == {"one"}


async def test_https_ends_at_the_load_balancer(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(backend("one"))
        made = await stack.enter_async_context(region(tmp_path))
        made.reach.table = {Target("i-1", 80): one}
        group = target_group("web", "HTTP", [Target("i-1", 80)])
        chain, key = self_signed()
        secure = listener(443, "HTTPS", group, certificates=(Certificate(chain, key),))
        await made.serve([alb("app", [secure])], [group])
        trust = ssl.create_default_context(cadata=chain)
        host, port = await made.address("app", 443)
        reader, writer = await asyncio.open_connection(host, port, ssl=trust, server_hostname="shop.example.com")
        writer.write(b"GET / HTTP/1.1\r\nhost: shop.example.com\r\nconnection: close\r\n\r\n")
        content = (await asyncio.wait_for(reader.read(), 60)).decode()
        writer.close()
        assert '"x-forwarded-proto": "https"' in content
        assert '"x-forwarded-port": "443"' in content


async def test_a_restarted_daemon_adopts_the_envoy_that_runs(tmp_path: Path) -> None:
    async with backend("one") as one:
        group = target_group("web", "TCP", [Target("i-1", 80)])
        balancer = nlb("net", [listener(80, "TCP", group)])
        async with region(tmp_path) as killed:
            killed.reach.table = {Target("i-1", 80): one}
            await killed.serve([balancer], [group])
            address, pid = await killed.address("net"), killed.balancing.envoy.pid
            # What a daemon that was killed leaves: files and a process, and nobody who stops it.
            async with region(tmp_path) as restarted:
                restarted.reach.table = killed.reach.table
                restarted.snapshot = killed.snapshot
                await until(lambda: restarted.balancing.envoy.pid, lambda found: found is not None)
                assert restarted.balancing.envoy.pid == pid
                assert await restarted.address("net") == address
                assert (await get(address)).json()["target"] == "one"
                killed.snapshot = Snapshot()


async def test_an_envoy_of_another_release_is_replaced(tmp_path: Path) -> None:
    group = target_group("web", "TCP", [])
    async with region(tmp_path, lambda: snapshot_of(group)) as killed:
        await until(killed.balancing.envoy.listening, lambda found: len(found) == 1)
        old = killed.balancing.envoy.pid
        (killed.balancing.envoy.directory / "bootstrap.json").write_text("{}")
        successor = Envoy(killed.balancing.envoy.directory)
        assert not successor.left_running()
        await successor.clean()
        await until(lambda: killed.balancing.envoy.pid, lambda pid: pid not in (None, old))


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_a_daemon_that_ends_while_it_starts_envoy_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = tmp_path / "envoy"
    binary.write_text("#!/bin/sh\nexec sleep 600\n")
    binary.chmod(0o755)
    begun, goes_on, started = threading.Event(), threading.Event(), list[EnvoyProcess]()
    start = Envoy._start

    def slowly(envoy: Envoy) -> EnvoyProcess:
        begun.set()
        assert goes_on.wait(60)
        started.append(start(envoy))
        return started[0]

    monkeypatch.setattr(Envoy, "_start", slowly)
    envoy = Envoy(tmp_path / "envoy.d", binary)
    task = asyncio.create_task(envoy.run())
    envoy._want(True)
    await asyncio.to_thread(begun.wait)
    task.cancel()
    await asyncio.sleep(0)
    goes_on.set()
    await asyncio.wait([task])
    assert not lives(started[0].pid)
    assert not envoy.left_running()


async def test_an_envoy_that_does_not_start_is_a_problem_of_its_load_balancers_only(tmp_path: Path) -> None:
    group = target_group("web", "TCP", [])
    async with region(tmp_path, lambda: snapshot_of(group), binary=tmp_path / "missing") as made:
        made.account.changed()
        await until(lambda: made.balancing.envoy.problem, lambda problem: "does not start" in problem)
        (described,) = await made.balancing.describe()
        assert "does not start" in described["listeners"][0]["problem"]


async def test_state_that_cannot_be_read_leaves_what_is_served(tmp_path: Path) -> None:
    async with backend("one") as one:
        group = target_group("web", "TCP", [Target("i-1", 80)])
        broken = False

        def read() -> Snapshot:
            if broken:
                raise RuntimeError("dictionary changed size during iteration")
            return snapshot_of(group)

        async with region(tmp_path, read) as made:
            made.reach.table = {Target("i-1", 80): one}
            made.account.changed()
            await until(made.balancing.envoy.listening, lambda found: len(found) == 1)
            broken = True
            made.account.changed()
            await asyncio.sleep(0.05)
            assert (await get(await made.address("net"))).json()["target"] == "one"


def snapshot_of(group: TargetGroup) -> Snapshot:
    return Snapshot((nlb("net", [listener(80, "TCP", group)]),), {group.arn: group})


def self_signed() -> tuple[str, str]:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "shop.example.com")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("shop.example.com")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM).decode(), private.decode()
