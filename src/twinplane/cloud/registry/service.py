"""The registry as the cloud composes it: its requests, the passwords that ECR gives out, ECR's view of pushes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import web

from twinplane.clock import Clock
from twinplane.cloud.endpoint import errors
from twinplane.cloud.identity import Identity
from twinplane.cloud.registry.ecr import Account, Ecr, registry_host
from twinplane.cloud.registry.permissions import Permissions
from twinplane.cloud.registry.registry import Registry, is_registry_request
from twinplane.cloud.registry.tokens import Tokens
from twinplane.cloud.requests import AwsResponse
from twinplane.images.store import ImageStore


class ImageRegistry:
    """`directory` is DATA/images, `secret` the region's."""

    def __init__(
        self, directory: Path, account: Account, account_id: str, region: str, *, secret: bytes, clock: Clock
    ) -> None:
        store = ImageStore(directory)
        self._account = account
        self._host = registry_host(account_id, region)
        self._ecr = Ecr(account, store, account_id, region)
        self._tokens = Tokens(secret, clock)
        self._permissions = Permissions(account, account_id, region)
        self._registry = Registry(store, self._ecr, self._tokens, self._permissions, clock)
        self._deletions: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    def start(self) -> None:
        """When the account is loaded."""
        self._account.subscribe(self._account_changed)
        self._changed.set()
        self._deletions = asyncio.create_task(self._follow(), name="registry: ECR")

    async def stop(self) -> None:
        if self._deletions is not None:
            self._deletions.cancel()
            await asyncio.wait([self._deletions])

    def answers(self, request: web.BaseRequest) -> bool:
        return is_registry_request(request)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._registry.handle(request)

    async def authorization_token(self, identity: Identity) -> AwsResponse:
        """The answer to GetAuthorizationToken."""
        refusal = await self._permissions.refusal(identity.arn, "ecr:GetAuthorizationToken")
        if refusal:
            return errors.write("json", "AccessDeniedException", refusal, 400)
        token, expiration = self._tokens.issue(identity.arn)
        data = {"authorizationToken": token, "expiresAt": expiration, "proxyEndpoint": f"https://{self._host}"}
        return AwsResponse.json({"authorizationData": [data]}, headers={"Content-Type": "application/x-amz-json-1.1"})

    def _account_changed(self, service: str) -> None:
        if service == "ecr":
            self._changed.set()

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._ecr.deleted()
