"""Calls to etcd under one rule of repetition: what surely was not done is tried again; what may have been is not.

`store`, `watching` and `compaction` call it. Reads are always repeated; a write only when it surely did nothing.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

from twinplane.controlplane.store.contract import StorageFull, StoreError, StoreUnavailable
from twinplane.controlplane.store.etcd import messages
from twinplane.controlplane.store.etcd.configuration import EtcdConfiguration
from twinplane.controlplane.store.etcd.grpc import UNAVAILABLE, Call, CallFailed, Channel
from twinplane.controlplane.store.etcd.http2 import ConnectionLost

RETRY_SECONDS = 15.0
"""How long a call is repeated: an election and a reconnection fit in several times."""
RETRY_DELAY = 0.1
UNAUTHENTICATED = 16
COMPACTED = "etcdserver: mvcc: required revision has been compacted"
FUTURE_REVISION = "etcdserver: mvcc: required revision is a future revision"
NO_SPACE = "etcdserver: mvcc: database space exceeded"
TOO_LARGE = "etcdserver: request is too large"
NOTHING_DONE = frozenset({"etcdserver: no leader", "etcdserver: not leader", "etcdserver: too many requests"})
"""Refusals that etcd gives before it proposes anything."""
INVALID_TOKEN = "etcdserver: invalid auth token"
REQUIRE_LEADER = (b"hasleader", b"true")
"""A watch on a member that has lost its leader is ended instead of being silent (clientv3.WithRequireLeader)."""


class WrongCredentials(StoreError):
    """etcd refuses this user, or what it wants to do."""


class RequestTooLarge(StoreError):
    """The value is larger than the etcd cluster accepts (1.5 MiB unless its --max-request-bytes says otherwise)."""


@dataclass(frozen=True, slots=True)
class Lost(Exception):
    """A write whose outcome is not known."""

    why: str


class EtcdClient:
    def __init__(self, configuration: EtcdConfiguration) -> None:
        """Raises OSError for certificate files that cannot be read."""
        self._configuration = configuration
        self._channel = Channel(configuration.endpoints, tls_context(configuration))
        self._authenticating = asyncio.Lock()

    async def read(self, method: str, request: bytes) -> bytes:
        """Repeated until it is answered. Raises `CallFailed` for what etcd refuses and `StoreUnavailable`."""
        return await self._repeated(method, request, idempotent=True)

    async def write(self, method: str, request: bytes) -> bytes:
        """Raises `Lost` besides what `read` raises."""
        return await self._repeated(method, request, idempotent=False)

    async def stream(self, method: str) -> Call:
        """Raises `ConnectionLost` and `StoreError`."""
        await self._sign_in()
        return await self._channel.call(method, REQUIRE_LEADER)

    async def close(self) -> None:
        await self._channel.close()

    async def _repeated(self, method: str, request: bytes, *, idempotent: bool) -> bytes:
        end = asyncio.get_running_loop().time() + RETRY_SECONDS
        while True:
            try:
                await self._sign_in()
                return await self._channel.unary(method, request)
            except ConnectionLost as error:
                if error.sent and not idempotent:
                    raise Lost(str(error)) from error
                reason = str(error)
            except CallFailed as error:
                self._judge(error, idempotent=idempotent)
                reason = error.message
            if asyncio.get_running_loop().time() > end:
                raise StoreUnavailable(f"etcd does not answer: {reason}")
            await asyncio.sleep(RETRY_DELAY)

    def _judge(self, error: CallFailed, *, idempotent: bool) -> None:
        """Returns when the call may be repeated."""
        if error.message == INVALID_TOKEN:
            self._channel.metadata = ()
        elif error.message in NOTHING_DONE:
            self._channel.turn_away()
        elif error.code == UNAVAILABLE:
            self._channel.turn_away()
            if not idempotent:
                raise Lost(error.message) from error
        else:
            raise _refusal(error) from error

    async def _sign_in(self) -> None:
        """The token of the user, if there is one; etcd forgets tokens when it restarts and after five minutes."""
        name = self._configuration.user
        if not name or self._channel.metadata:
            return
        async with self._authenticating:
            if self._channel.metadata:
                return
            request = messages.authenticate_request(name, self._configuration.password())
            try:
                answer = await self._channel.unary(messages.AUTHENTICATE, request)
            except CallFailed as error:
                if error.code == UNAVAILABLE:
                    raise ConnectionLost(error.message, sent=False) from error
                raise WrongCredentials(f"etcd: {error.message}") from error
            except ConnectionLost as error:
                raise ConnectionLost(str(error), sent=False) from error
            self._channel.metadata = ((b"token", messages.token_of(answer)),)


def _refusal(error: CallFailed) -> Exception:
    if error.message == NO_SPACE:
        return StorageFull(error.message)
    if error.message == TOO_LARGE:
        return RequestTooLarge(error.message)
    if error.code in (7, UNAUTHENTICATED) or "auth" in error.message:
        return WrongCredentials(error.message)
    return error


def tls_context(configuration: EtcdConfiguration) -> ssl.SSLContext | None:
    """Raises OSError (also `ssl.SSLError`) for files that cannot be used."""
    if not configuration.endpoints[0].tls:
        return None
    context = ssl.create_default_context(cafile=configuration.ca_file or None)
    context.set_alpn_protocols(["h2"])
    if configuration.certificate_file:
        context.load_cert_chain(configuration.certificate_file, configuration.key_file)
    return context
