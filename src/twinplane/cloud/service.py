"""`Cloud`: the AWS side of a region as one object, for the daemon to start and stop.

It composes the parts of this package: the account (moto), the gate (signatures), the EKS service, the endpoint that
hands requests to them, and the internal API. Data: `credentials.json`, `aws/*.snapshot`, `eks.sqlite`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

from twinplane.clock import Clock, SystemClock
from twinplane.cloud.aws.account import Account
from twinplane.cloud.aws.dispatch import ServiceError
from twinplane.cloud.aws.snapshots import SnapshotCorrupt
from twinplane.cloud.clients import EndpointClients
from twinplane.cloud.contract import AwsCredentials, CloudState
from twinplane.cloud.eks.call import Background, Context
from twinplane.cloud.eks.contract import ControlPlanes
from twinplane.cloud.eks.service import EksService
from twinplane.cloud.eks.state import State, StateCorrupt
from twinplane.cloud.endpoint import errors, internal
from twinplane.cloud.endpoint.feed import Feed
from twinplane.cloud.endpoint.gate import Admitted, Gate
from twinplane.cloud.endpoint.server import EndpointServer, PortInUse
from twinplane.cloud.endpoint.sts import SecurityTokenService
from twinplane.cloud.health_checks import HealthChecks
from twinplane.cloud.iam.web_identity import WebIdentity
from twinplane.cloud.identity import RegionCredentials, ServiceSessions, assumed_role_arn, unique_id
from twinplane.cloud.registry.service import ImageRegistry
from twinplane.cloud.requests import AwsRequest, AwsResponse, operation_of
from twinplane.cloud.signature import Refused

__all__ = ["Cloud", "PortInUse", "SnapshotCorrupt", "StateCorrupt"]

log = logging.getLogger(__name__)

DEFAULT_PORT = 4566
EKS_SERVICE_ROLE = "AWSServiceRoleForAmazonEKS"


class Cloud:
    """`start` raises `PortInUse`, `SnapshotCorrupt` or `StateCorrupt`, each with a sentence for the user."""

    def __init__(
        self,
        data_dir: Path,
        region: str,
        account_id: str,
        control_planes: ControlPlanes,
        *,
        clock: Clock | None = None,
        random_source: random.Random | None = None,
        host: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        health: Callable[[], dict[str, Any]] = dict,
        images: Path | None = None,
    ) -> None:
        """`health` adds to the public answer of /_twinplane/health; `images` is the directory of the registry."""
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._data_dir = data_dir
        self._region = region
        self._account_id = account_id
        self._control_planes = control_planes
        self._clock = clock or SystemClock()
        self._random = random_source or random.SystemRandom()
        self._host = host
        self._wanted_port = port
        self._health = health
        self._credentials = RegionCredentials.load_or_create(data_dir / "credentials.json", account_id)
        self._sessions = ServiceSessions(self._credentials.region_secret, account_id)
        self._account = Account(data_dir / "aws", region, account_id, self._credentials.administrator, self._clock)
        self._gate = Gate(self._credentials, self._sessions, self._account, region, self._clock)
        self._sts = SecurityTokenService(self._sessions, self._clock)
        self._images = ImageRegistry(
            images or data_dir / "images",
            self._account,
            account_id,
            region,
            secret=self._credentials.region_secret,
            clock=self._clock,
        )
        self._server = EndpointServer(self._answer, self._images)
        self._feed = Feed(int(self._clock.now() * 1000))
        self._published: dict[str, internal.Publication] = {}
        self._health_checks: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen, wake the account, resume unfinished work. Returns when every service answers."""
        self._eks_state = State(self._data_dir / "eks.sqlite", self._feed.update)
        try:
            await self._server.start(self._host, self._wanted_port)
        except PortInUse:
            self._eks_state.close()
            raise
        role = assumed_role_arn(self._account_id, EKS_SERVICE_ROLE, "EKS")
        self._clients = EndpointClients(self.endpoint_url, self._region, self.issue_service_credentials(role))
        self._eks = EksService(
            Context(
                region=self._region,
                account_id=self._account_id,
                state=self._eks_state,
                clients=self._clients,
                cloud=self._account,
                control_planes=self._control_planes,
                clock=self._clock,
                random=self._random,
                instance_type=self._account.instance_type,
                background=Background(),
            ),
            self._sessions,
        )
        self._web_identity = WebIdentity(
            self._clients, self._sessions, self._eks.issuer_key, self._account_id, self._clock
        )
        self._internal = internal.InternalApi(self._account, self._eks, self._feed, self._published)
        await self._account.start()
        self._account.subscribe(self._changed)
        try:
            await self._account.ready()
        except SnapshotCorrupt:
            await self.stop()
            raise
        self._images.start()
        self._eks.start()
        checks = HealthChecks(self._account, self._clock, self._replace_stopped)
        self._health_checks = asyncio.create_task(checks.run(), name="health checks of Auto Scaling groups")

    async def resumed(self) -> None:
        """Until the clusters of an earlier run have their control planes back."""
        await self._eks.resumed()

    def clusters(self) -> list[dict[str, Any]]:
        """As DescribeCluster has them."""
        return self._eks.clusters()

    async def stop(self) -> None:
        """Everything acknowledged is on disk already: stopping only ends what runs."""
        if self._health_checks is not None:
            self._health_checks.cancel()
            await asyncio.wait([self._health_checks])
        await self._eks.stop()
        await self._server.stop()
        await self._images.stop()
        await self._account.stop()
        self._clients.close()
        self._eks_state.close()

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def endpoint_url(self) -> str:
        """`AWS_ENDPOINT_URL`."""
        return f"http://{self._host}:{self.port}"

    @property
    def state(self) -> CloudState:
        return self._account

    @property
    def account(self) -> Account:
        """For parts inside the daemon that need more than `CloudState` (the load-balancer data path)."""
        return self._account

    @property
    def clients(self) -> EndpointClients:
        """Clients with the credentials of EKS's service role."""
        return self._clients

    @property
    def credentials(self) -> AwsCredentials:
        """The administrator's key, for `twinplane env`."""
        administrator = self._credentials.administrator
        return AwsCredentials(administrator.access_key_id, administrator.secret_access_key)

    def issue_service_credentials(self, role_session_arn: str, expiration: float | None = None) -> AwsCredentials:
        """Credentials for a process of the region, which may also call `/_twinplane/`.

        `role_session_arn` is `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`, e.g. with a node's role and instance
        id. Without `expiration` (seconds since the epoch) they last as long as the region's data directory.
        """
        return self._issue(role_session_arn, expiration, internal=True)

    def issue_role_credentials(self, role_session_arn: str, expiration: float | None = None) -> AwsCredentials:
        """The same for what runs in the account: an instance under its role. `/_twinplane/` is closed to it."""
        return self._issue(role_session_arn, expiration, internal=False)

    def _issue(self, role_session_arn: str, expiration: float | None, *, internal: bool) -> AwsCredentials:
        role, _, session = role_session_arn.split("assumed-role/", 1)[1].partition("/")
        user_id = f"{unique_id('AROA', f'{self._account_id}/{role}')}:{session}"
        return self._sessions.issue(role_session_arn, user_id=user_id, expiration=expiration, internal=internal)

    def publish(self, path: str, publication: internal.Publication) -> None:
        """Answer GET of an internal path (`/_twinplane/status`) with what `publication()` returns, as JSON."""
        assert path.startswith(internal.PREFIX)
        self._published[path] = publication

    async def _replace_stopped(self, instance_ids: Collection[str]) -> None:
        from twinplane.cloud.aws.lifecycle import replace_stopped

        replace = partial(replace_stopped, self._account_id, self._region, instance_ids)
        await self._account.run(replace, changes="autoscaling")

    # -- requests ----------------------------------------------------------------------------------------------------

    async def _answer(self, request: AwsRequest) -> AwsResponse:
        if request.path == internal.HEALTH:
            known = {"status": "ok", "region": self._region, "accountId": self._account_id}
            return AwsResponse.json(known | self._health())
        try:
            if request.path.startswith(internal.PREFIX) and self._gate.bears_secret(request):
                return await self._internal.answer(request)
            admitted = await self._gate.admit(request)
        except Refused as refused:
            return errors.refusal(request, refused)
        return await self._route(admitted)

    async def _route(self, admitted: Admitted) -> AwsResponse:
        request, identity = admitted.request, admitted.identity
        if identity is not None and request.path.startswith(internal.PREFIX):
            if not identity.internal and identity != self._credentials.administrator:
                return errors.write("rest", "AccessDeniedException", "Only for processes of this region", 403)
            return await self._internal.answer(request)
        if identity is not None and request.service in ("eks", "eks-auth"):
            return await self._eks.handle(request, identity)
        if identity is None and operation_of(request).action == "AssumeRoleWithWebIdentity":
            return await self._sts.assume_with_web_identity(request, self._web_identity)
        if (
            identity is not None
            and request.service == "ecr"
            and operation_of(request).action == "GetAuthorizationToken"
        ):
            return await self._images.authorization_token(identity)
        if identity is not None and request.service == "sts":
            answer = self._sts.answer(request, identity)
            if answer is not None:
                return answer
        try:
            return await self._account.handle(request, admitted.authorization)
        except ServiceError as error:
            return errors.write(errors.family_of(request), error.code, error.message, 400)
        except NotImplementedError as error:
            return errors.write(errors.family_of(request), "NotImplemented", f"{request.service}: {error}", 501)

    def _changed(self, service: str) -> None:
        if service in ("ec2", "autoscaling", "cloudformation"):
            self._feed.update()
