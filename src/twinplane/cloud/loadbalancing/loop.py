"""Keeps Envoy equal to the account: hears of changes, reads, resolves, builds and writes the difference.

One task of the region daemon. Changes come in bursts (a controller registers targets one call at a time), so they are
gathered for a moment; the rebuild is whole and pure, only what differs reaches a file.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from twinplane.cloud.contract import CloudState
from twinplane.cloud.loadbalancing.addresses import Addresses, Place
from twinplane.cloud.loadbalancing.aliases import Aliases
from twinplane.cloud.loadbalancing.clusters import cluster_name
from twinplane.cloud.loadbalancing.contract import (
    Interfaces,
    LoadBalancer,
    Reach,
    Snapshot,
    SocketAddress,
    Target,
    TargetGroup,
    TargetState,
)
from twinplane.cloud.loadbalancing.envoy import ConfigHealth, Envoy
from twinplane.cloud.loadbalancing.flows import flows
from twinplane.cloud.loadbalancing.rules import build, used_groups, wanted_targets

log = logging.getLogger(__name__)

DEBOUNCE = 0.05
RETRY = 1.0
"""Seconds after which targets that nothing serves yet are looked up again, doubling up to `TICK`."""
HEALTH = 1.0
"""Seconds between looks at who is healthy, while flows go to targets without Envoy."""
TICK = 10.0
"""Seconds between rebuilds when nothing happened: frees aliases, and heals what no change announced."""
SERVICES = frozenset({"ec2", "elasticloadbalancing", "elb", "elbv2", "autoscaling", "acm", "iam", "eks"})


class LoadBalancing:
    def __init__(
        self,
        data_dir: Path,
        state: CloudState,
        read: Callable[[], Awaitable[Snapshot]],
        reach: Reach,
        aliases: Aliases,
        *,
        envoy: Envoy | None = None,
        addresses: Addresses | None = None,
        interfaces: Interfaces | None = None,
    ) -> None:
        """`data_dir` is the region's; everything is kept in `loadbalancing/` of it. `read` is `MotoReader.read`, run in
        the thread of the account. Without `interfaces` nothing is bound in VPCs."""
        directory = data_dir / "loadbalancing"
        self.envoy = envoy or Envoy(directory / "envoy")
        self._addresses = addresses or Addresses(directory / "addresses.json")
        self._read = read
        self._reach = reach
        self._aliases = aliases
        self._interfaces = interfaces
        self._bound = False
        self._rebuilt = asyncio.Event()
        self._changed = asyncio.Event()
        self._snapshot = Snapshot()
        self._resolved: dict[tuple[str, Target], list[SocketAddress]] = {}
        self._reported: set[str] = set()
        self._failed = False
        state.subscribe(self._on_change)

    def _on_change(self, service: str) -> None:
        if service in SERVICES:
            self._changed.set()

    def refresh(self) -> None:
        """Something outside the account moved, e.g. a simulation process has a new port."""
        self._changed.set()

    async def run(self) -> None:
        with closing(self._addresses):
            await self._run()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.envoy.run(), name="envoy")
            tasks.create_task(self._follow(), name="load balancers")
            if self._interfaces is not None:
                tasks.create_task(self._follow_health(self._interfaces), name="flows of load balancers")

    async def _follow(self) -> None:
        if not self.envoy.left_running():
            self._addresses.check_again()
        retry = RETRY
        await self._rebuild_safely()
        if not self._snapshot.load_balancers:
            await self.envoy.clean()
        while True:
            waiting = any(not found for found in self._resolved.values())
            timeout = min(retry, TICK) if waiting or self._failed else TICK
            idle = not self._snapshot.load_balancers and not self._failed
            try:
                # Not wait_for: before Python 3.12 it loses a cancellation that comes together with the change.
                async with asyncio.timeout(None if idle else timeout):
                    await self._changed.wait()
            except TimeoutError:
                # A target that stays away (a stopped instance) is looked for less and less often.
                retry = min(retry * 2, TICK)
            else:
                await asyncio.sleep(DEBOUNCE)
                retry = RETRY
            self._changed.clear()
            await self._rebuild_safely()

    async def _rebuild_safely(self) -> None:
        try:
            await self._rebuild()
            self._failed = False
        except Exception:
            # The boundary of this task: state that cannot be read or a full disk must not end the region's other parts,
            # and what Envoy has stays in force.
            log.exception("load balancers could not be brought up to date; trying again")
            self._failed = True

    async def _rebuild(self) -> None:
        snapshot = self._snapshot = await self._read()
        self._resolved = {key: self._reach.resolve(*key) for key in wanted_targets(snapshot)}
        self._aliases.retain({host for found in self._resolved.values() for host, _ in found})
        self._aliases.save()
        self._addresses.retain({balancer.arn for balancer in snapshot.load_balancers})
        places = {balancer.arn: self._addresses.place(balancer) for balancer in snapshot.load_balancers}
        self._addresses.save()
        self._report(places)
        bindings = {
            arn: {port: (place.address, bound) for port, bound in place.ports.items()} for arn, place in places.items()
        }
        edges = self._bind(snapshot)
        self.envoy.publish(build(snapshot, bindings, self._resolved, self.envoy.directory, edges))

    def _bind(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """Load balancer ARN -> addresses on this host of its interfaces, which their VPC is told of."""
        if self._interfaces is None:
            return {}
        edges: dict[str, list[str]] = {}
        announced = []
        for balancer in snapshot.load_balancers:
            for address in balancer.addresses:
                translated = self._interfaces.to_host(balancer.vpc_id, address)
                if translated is not None:
                    edges.setdefault(balancer.arn, []).append(translated)
                    announced.append((balancer.vpc_id, address))
        self._interfaces.announce(announced)
        self._bound = bool(announced)
        self._rebuilt.set()
        return edges

    async def _follow_health(self, interfaces: Interfaces) -> None:
        """After each rebuild; and all the time where there are flows, since a target may fail at any moment."""
        while True:
            self._rebuilt.clear()
            health = await self.envoy.health() if self._bound else {}
            found = {} if not self._bound else flows(self._snapshot, self._resolved, health)
            interfaces.hand_on(found)
            with suppress(TimeoutError):
                async with asyncio.timeout(HEALTH if found else None):
                    await self._rebuilt.wait()

    def addresses_of(self, dns_name: str) -> Sequence[str]:
        """In its VPC, of the load balancer with this name (lower case); empty when there is none."""
        found = (each.addresses for each in self._snapshot.load_balancers if each.dns_name.lower() == dns_name)
        return next(found, ())

    def _report(self, places: dict[str, Place]) -> None:
        problems = {problem for place in places.values() for problem in place.problems.values()}
        for problem in problems - self._reported:
            log.warning("load balancer: %s", problem)
        self._reported = problems

    def url(self, balancer: LoadBalancer) -> str:
        """Of its first listener; empty when it listens nowhere."""
        return next((entry["url"] for entry in self._listeners(balancer) if entry["url"]), "")

    async def describe(self) -> list[dict[str, Any]]:
        """For `twinplane get loadbalancers`: what exists, where to reach it, and how its targets are."""
        health = await self.envoy.health()
        return [self._description(balancer, health) for balancer in self._snapshot.load_balancers]

    async def target_health(self) -> dict[str, dict[Target, tuple[TargetState, str]]]:
        """Target group ARN -> target -> (state, reason code as ELBv2 gives them)."""
        health = await self.envoy.health()
        used = used_groups(self._snapshot)
        return {
            arn: {target: self._state(group, target, arn in used, health) for target in group.targets}
            for arn, group in self._snapshot.target_groups.items()
        }

    def _description(self, balancer: LoadBalancer, health: ConfigHealth) -> dict[str, Any]:
        listeners = self._listeners(balancer)
        alone = Snapshot((balancer,), self._snapshot.target_groups)
        groups = [self._snapshot.target_groups[arn] for arn in used_groups(alone)]
        return {
            "name": balancer.name,
            "kind": balancer.kind,
            "arn": balancer.arn,
            "dns_name": balancer.dns_name,
            "scheme": balancer.scheme,
            "vpc_id": balancer.vpc_id,
            "urls": [listener["url"] for listener in listeners if listener["url"]],
            "listeners": listeners,
            "targets": [
                {"target_group": group.name, "id": target.id, "port": target.port, "state": state, "reason": reason}
                for group in groups
                for target in group.targets
                for state, reason in [self._state(group, target, True, health)]
            ],
        }

    def _listeners(self, balancer: LoadBalancer) -> list[dict[str, Any]]:
        place = self._addresses.place(balancer)
        described = []
        for listener in balancer.listeners:
            bound = place.ports.get(listener.port)
            problem = self.envoy.problem or place.problems.get(listener.port, "")
            if listener.protocol in ("HTTPS", "TLS") and not listener.certificates:
                bound, problem = None, "no certificate"
            url = _url(listener.protocol, place.address, bound) if bound is not None else ""
            described.append({"port": listener.port, "protocol": listener.protocol, "url": url, "problem": problem})
        return described

    def _state(self, group: TargetGroup, target: Target, used: bool, health: ConfigHealth) -> tuple[TargetState, str]:
        if not used:
            return "unused", "Target.NotInUse"
        found = self._resolved.get((group.vpc_id, target), [])
        if not found:
            return "unused", "Target.InvalidState"
        states = {health.get(cluster_name(group.arn), {}).get(address, "initial") for address in found}
        if "unhealthy" in states:
            return "unhealthy", "Target.FailedHealthChecks"
        if "initial" in states:
            return "initial", "Elb.InitialHealthChecking"
        return "healthy", ""


SCHEMES = {"HTTP": ("http", 80), "HTTPS": ("https", 443), "TLS": ("tls", 0), "UDP": ("udp", 0), "TCP_UDP": ("tcp", 0)}


def _url(protocol: str, address: str, port: int) -> str:
    """TCP is shown as http, which it nearly always carries and a terminal can open."""
    scheme, usual = SCHEMES.get(protocol, ("http", 80))
    return f"{scheme}://{address}" + ("" if port == usual else f":{port}") + ("/" if scheme.startswith("http") else "")
