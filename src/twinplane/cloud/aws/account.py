"""`Account`: the state of your AWS account, kept by moto, saved by us, read by the rest of the region.

The endpoint sends it requests; the EKS service, the load-balancer data path and the instance feed read instances and
are told of changes. moto is imported in the worker thread after the start, so the endpoint listens at once and the
first requests wait for it. moto keeps its state in module globals: there is one live account per process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from twinplane.clock import Clock
from twinplane.cloud.aws import instances, snapshots, waking
from twinplane.cloud.aws.worker import Worker
from twinplane.cloud.contract import ChangeListener, Instance
from twinplane.cloud.identity import Identity
from twinplane.cloud.requests import AwsRequest, AwsResponse, is_read_only, operation_of

if TYPE_CHECKING:
    from twinplane.cloud.aws.dispatch import Dispatcher

T = TypeVar("T")

_AFFECTS: dict[str, tuple[str, ...]] = {
    "s3": ("sns", "sqs", "events"),
    "sns": ("sqs",),
    "events": ("sqs", "sns", "logs"),
    "cloudwatch": ("sns", "autoscaling"),
}
"""Services whose state a request to another service may change as well; CloudFormation may change any."""

_HOLDS_INSTANCES = {"ec2", "autoscaling", "cloudformation"}


class Account:
    """Implements `CloudState`."""

    def __init__(self, directory: Path, region: str, account_id: str, administrator: Identity, clock: Clock) -> None:
        self._region = region
        self._account_id = account_id
        self._administrator = administrator
        self._clock = clock
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._snapshots = snapshots.Snapshots(directory)
        self._worker = Worker(self._commit)
        self._listeners: list[ChangeListener] = []
        self._view = instances.View(())
        self._revision = 0
        self._dispatcher: Any = None
        self._touched: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._awake: asyncio.Task[None] | None = None

    # -- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to wake moto in the worker thread; `ready` waits for it."""
        self._loop = asyncio.get_running_loop()
        self._worker.start()
        self._awake = asyncio.create_task(self._worker.call(self._wake), name="aws-wake")

    async def ready(self) -> None:
        """Returns when the account is loaded. Raises `SnapshotCorrupt`."""
        assert self._awake is not None, "start() comes first"
        await asyncio.shield(self._awake)

    async def stop(self) -> None:
        if self._awake:
            await asyncio.gather(self._awake, return_exceptions=True)
            await self._worker.call(_forget_everything)
        await self._worker.stop()

    def _wake(self) -> None:
        waking.wake(self._region, self._account_id)
        from twinplane.cloud.aws import corrections, people
        from twinplane.cloud.aws.dispatch import Dispatcher

        corrections.apply()
        _forget_everything()
        for _, state in self._snapshots.load():
            for service, accounts in state.items():
                _restore(service, accounts)
        people.ensure_administrator(self._administrator, self._account_id)
        corrections.load("ec2")[self._account_id][self._region]
        self._dispatcher = Dispatcher(self._region)
        self._view = instances.read(self._account_id, self._region, self._clock.now())
        self._revision += 1
        waking.settle()

    # -- requests ----------------------------------------------------------------------------------------------------

    async def handle(self, request: AwsRequest, authorization: str) -> AwsResponse:
        """Answer a verified request; a change it made is on disk when this returns."""
        await self.ready()
        changes = not is_read_only(request, operation_of(request))
        return await self._worker.call(lambda: self._dispatch(request, authorization, changes), changes=changes)

    def _dispatch(self, request: AwsRequest, authorization: str, changes: bool) -> AwsResponse:
        dispatcher: Dispatcher = self._dispatcher
        service, response = dispatcher.call(request, authorization)
        if changes:
            self._touched.add(service)
        return response

    async def run(self, work: Callable[[], T], *, changes: str = "") -> T:
        """Run a function in moto's thread; with `changes` (a service) return when the change is on disk."""
        await self.ready()

        def touch() -> T:
            if changes:
                self._touched.add(changes)
            return work()

        return await self._worker.call(touch, changes=bool(changes))

    def _commit(self) -> None:
        """In the worker thread, after a batch that may have changed the touched services."""
        affected = self._touched.union(*(_AFFECTS.get(service, ()) for service in self._touched))
        if "cloudformation" in affected:
            affected = set(_in_use())
        saved = False
        for group in sorted({snapshots.group_of(service) for service in affected}):
            saved |= self._snapshots.save(group, _live(snapshots.services_of(group)))
        self._touched.clear()
        if not saved:
            return
        if affected & _HOLDS_INSTANCES:
            view = instances.read(self._account_id, self._region, self._clock.now())
            if view.instances != self._view.instances:
                self._revision += 1
            self._view = view
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._notify, sorted(affected))

    def _notify(self, services: list[str]) -> None:
        for service in services:
            for listener in self._listeners:
                listener(service)

    # -- reading -----------------------------------------------------------------------------------------------------

    @property
    def revision(self) -> int:
        """Grows whenever `instances()` would answer differently."""
        return self._revision

    def instances(self, cluster: str = "") -> list[Instance]:
        return [found for found in self._view.instances if not cluster or found.cluster == cluster]

    def instance_by_address(self, vpc_id: str, address: str) -> Instance | None:
        return self._view.by_address(vpc_id, address)

    def subscribe(self, listener: ChangeListener) -> None:
        self._listeners.append(listener)

    def unsubscribe(self, listener: ChangeListener) -> None:
        self._listeners.remove(listener)

    async def instance_type(self, name: str) -> dict[str, Any] | None:
        """The facts nodes are made of: vcpus, memoryMiB, enis, ipv4PerEni, architecture, maxPods, ..."""
        await self.ready()
        return instances.instance_type(name)

    async def find(self, access_key_id: str) -> Identity | None:
        """`KeyDirectory`: keys of IAM users and of assumed roles."""
        await self.ready()
        from twinplane.cloud.aws import people

        return people.find(access_key_id, self._account_id)


def _in_use() -> dict[str, Any]:
    """Service (the name of its moto package) to its backends, for every service that has state."""
    from moto.core.base_backend import BackendDict

    return {backends.backend.__module__.split(".")[1]: backends for backends in BackendDict._instances}


def _live(services: tuple[str, ...]) -> snapshots.State:
    """What exists of the named services; never makes a backend."""
    in_use = _in_use()
    return {
        service: {account: dict(regions) for account, regions in in_use[service].items()}
        for service in services
        if service in in_use
    }


def _restore(service: str, accounts: dict[str, dict[str, Any]]) -> None:
    from twinplane.cloud.aws import corrections

    backends = corrections.load(service)
    for account, regions in accounts.items():
        for region, backend in regions.items():
            # Past `AccountSpecificBackend`, whose own access would make an empty backend first.
            dict.__setitem__(backends[account], region, backend)


def _forget_everything() -> None:
    from moto.core.base_backend import BackendDict

    for backends in list(BackendDict._instances):
        backends.clear()
    BackendDict._instances.clear()
