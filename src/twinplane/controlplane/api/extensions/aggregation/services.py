"""The aggregator: knows the APIServices, says whether each is available, and answers for those of other servers.

The table follows the API server's own cache, so every replica passes on the same requests. Availability is checked by
every replica for itself and written by whoever finds it changed. A group that is aggregated in most clusters can be
answered by a part of this process (`OwnGroup`), for as long as its APIService names no Service.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import orjson

from twinplane.clock import Clock, rfc3339
from twinplane.controlplane.api.contract import Request, Response
from twinplane.controlplane.api.extensions.aggregation import discovery, local, proxy
from twinplane.controlplane.api.extensions.aggregation.discovery import RemoteVersion
from twinplane.controlplane.api.extensions.dialing import Dialer, Unreachable
from twinplane.controlplane.api.objects.cache import ObjectCache
from twinplane.controlplane.api.objects.entry import Entry
from twinplane.controlplane.api.objects.selection import Selection
from twinplane.controlplane.api.routing import Route
from twinplane.controlplane.api.types.openapi.protobuf import MEDIA_TYPE, more
from twinplane.controlplane.api.types.registry import Registry
from twinplane.controlplane.auth.contract import MASTERS, UserInfo
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import API_SERVICES

log = logging.getLogger(__name__)

CHECK_SECONDS = 30.0
RETRY_SECONDS = 5.0
PROBE_SECONDS = 5.0
AGGREGATOR = UserInfo("system:kube-aggregator", (MASTERS,))
_UNAVAILABLE = b"service unavailable\n"


class OwnGroup(Protocol):
    """One version of a group without types in the registry; `resources` is its APIResourceList."""

    resources: Object

    async def answer(self, request: Request, route: Route) -> Response:
        """Raises `ApiError`."""
        ...


@dataclass(slots=True)
class Remote:
    """`own` stands in for another server; it is always available."""

    service: Object
    available: bool = False
    resources: Object | None = None
    openapi: Object | None = None
    own: OwnGroup | None = None

    def version(self) -> RemoteVersion:
        spec = self.service["spec"]
        return RemoteVersion(
            spec.get("group", ""),
            spec["version"],
            spec.get("groupPriorityMinimum", 0),
            spec.get("versionPriority", 0),
            self.resources,
            self.available,
            self.openapi,
        )


class Aggregator:
    """`start` after the cache's; then `run`. Without `remotes` nobody asks."""

    def __init__(
        self,
        cache: ObjectCache,
        registry: Registry,
        client: KubeClient,
        clock: Clock,
        dialer: Dialer,
        *,
        own: Mapping[str, OwnGroup],
    ) -> None:
        """`own` by name of the APIService."""
        self._cache = cache
        self._registry = registry
        self._client = client
        self._clock = clock
        self._dialer = dialer
        self._own = own
        self._wake = asyncio.Event()
        self._generation = -1
        self.remotes: dict[tuple[str, str], Remote] = {}

    def start(self) -> None:
        self._cache.listen(API_SERVICES, self._changed)
        for entry in self._cache.collection(API_SERVICES).select(Selection()):
            self._changed(entry.name, entry)

    def _changed(self, name: str, entry: Entry | None) -> None:
        version, _, group = name.partition(".")
        key = group, version
        own = self._own.get(name)
        if entry is None or not (own or local.is_remote(entry.object)):
            self.remotes.pop(key, None)
        elif own is not None and not local.is_remote(entry.object):
            self.remotes[key] = Remote(entry.object, True, own.resources, own=own)
        else:
            known = self.remotes.get(key)
            if known is not None and known.own is not None:
                known = None
            available = _is_available(entry.object)
            if known is None:
                self.remotes[key] = Remote(entry.object, available)
                self._wake.set()
                return
            moved = known.service["spec"] != entry.object["spec"]
            known.service, known.available = entry.object, available
            if not moved:
                return
        self._wake.set()

    def refresh(self) -> None:
        """The table of types has changed."""
        self._wake.set()

    # Answers

    def remote_of(self, request: Request, route: Route) -> Remote | None:
        """Who answers instead; None where this server does."""
        key = (route.group, route.version) if route.is_resource else _group_version(request.path)
        return None if key is None else self.remotes.get(key)

    async def answer(self, remote: Remote, request: Request, route: Route, user: UserInfo) -> Response:
        """Called for authorized requests only."""
        if not remote.available:
            return _unavailable()
        if remote.own is not None:
            return await remote.own.answer(request, route)
        try:
            passed = proxy.upgrade if "upgrade" in request.headers else proxy.forward
            return await passed(remote.service, request, user, self._dialer)
        except Unreachable as error:
            log.warning("%s %s: %s", request.method, request.path, error)
            return _unavailable()

    def merged(self, request: Request, response: Response) -> Response:
        """A discovery document with the other servers' groups in it."""
        parts = [part for part in request.path.split("/") if part]
        versions = [remote.version() for remote in self.remotes.values()]
        if response.status != 200 or not versions or not response.body:
            return response
        if parts == ["apis"]:
            document = orjson.loads(response.body)
            merge = discovery.aggregated if "items" in document else discovery.group_list
            return _rewritten(request, response, merge(document, versions))
        if parts[:1] == ["apis"] and len(parts) == 2:
            found = discovery.group(orjson.loads(response.body), parts[1], versions)
            return _rewritten(request, response, found or {})
        versions = [remote.version() for remote in self.remotes.values() if remote.own is None]
        if not versions:
            return response
        if parts == ["openapi", "v2"] and response.content_type == MEDIA_TYPE:
            return Response(200, response.body + more(discovery.definitions_of(versions)), MEDIA_TYPE)
        if parts == ["openapi", "v2"]:
            return _rewritten(request, response, discovery.openapi_v2(orjson.loads(response.body), versions))
        if parts == ["openapi", "v3"]:
            return _rewritten(request, response, discovery.openapi_index(orjson.loads(response.body), versions))
        return response

    def remote_group(self, path: str) -> Response | None:
        """`/apis/GROUP` of a group that only other servers have."""
        parts = [part for part in path.split("/") if part]
        if len(parts) != 2 or parts[0] != "apis":
            return None
        found = discovery.group(None, parts[1], [remote.version() for remote in self.remotes.values()])
        return None if found is None or self._registry.versions(parts[1]) else Response(200, orjson.dumps(found))

    # The loop

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._keep_local()
                healthy = await self._check_all()
            except ApiError as error:
                log.warning("API services: %s", error)
                healthy = False
            except Exception:  # The boundary of this task: what one service did must not stop the rest
                log.exception("API services")
                healthy = False
            seconds = CHECK_SECONDS if healthy else RETRY_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds if self._others() or not healthy else None):
                    await self._wake.wait()
            self._wake.clear()

    async def _keep_local(self) -> None:
        if self._generation == self._registry.generation:
            return
        generation = self._registry.generation
        wanted = local.wanted(self._registry.all())
        present = {entry.name: entry.object for entry in self._cache.collection(API_SERVICES).select(Selection())}
        for name in local.surplus(present.values(), wanted):
            await _ignoring(("NotFound",), self._client.delete(API_SERVICES, name))
        for name, body in wanted.items():
            if name not in present:
                await _ignoring(("AlreadyExists",), self._client.create(API_SERVICES, body))
        self._generation = generation

    async def _check_all(self) -> bool:
        results = [await self._check(remote) for remote in self._others()]
        return all(results)

    def _others(self) -> list[Remote]:
        return [remote for remote in self.remotes.values() if remote.own is None]

    async def _check(self, remote: Remote) -> bool:
        status, reason, message = await self._probe(remote)
        before = next(iter(_conditions(remote.service)), {})
        if (before.get("status"), before.get("reason"), before.get("message")) != (status, reason, message):
            now = rfc3339(self._clock.now())
            since = before.get("lastTransitionTime", now) if before.get("status") == status else now
            condition = {
                "type": "Available",
                "status": status,
                "reason": reason,
                "message": message,
                "lastTransitionTime": since,
            }
            body = {**remote.service, "status": {"conditions": [condition]}}
            await _ignoring(("Conflict", "NotFound"), self._client.update(API_SERVICES, body, subresource="status"))
        return status == "True"

    async def _probe(self, remote: Remote) -> tuple[str, str, str]:
        """Status, reason and message of the Available condition."""
        spec = remote.service["spec"]
        namespace, name, port = proxy.service_of(remote.service)
        try:
            self._dialer.resolve(namespace, name, port)
        except Unreachable as error:
            if "not found" in str(error):
                return "False", "ServiceNotFound", f'service/{name} in "{namespace}" is not present'
            if "has no port" in str(error):
                return "False", "ServicePortError", f'service/{name} in "{namespace}" is not listening on port {port}'
            return "False", "MissingEndpoints", f'endpoints for service/{name} in "{namespace}" have no addresses'
        path = f"/apis/{spec['group']}/{spec['version']}"
        try:
            status, body = await proxy.ask(remote.service, path, AGGREGATOR, self._dialer, PROBE_SECONDS)
            if not 200 <= status < 300:
                raise Unreachable(f"bad status from {path}: {status}")
            resources = orjson.loads(body)
            if remote.openapi is None or resources != remote.resources:
                remote.openapi = await self._openapi(remote)
            remote.resources = resources
        except (Unreachable, ValueError) as error:
            return "False", "FailedDiscoveryCheck", f"failing or missing response from {path}: {error}"
        return "True", "Passed", "all checks passed"

    async def _openapi(self, remote: Remote) -> Object | None:
        """None for a server without one, which may well be available."""
        try:
            status, body = await proxy.ask(remote.service, "/openapi/v2", AGGREGATOR, self._dialer, PROBE_SECONDS)
            found: Object = orjson.loads(body) if status == 200 else {}
        except (Unreachable, ValueError):
            return None
        return found if isinstance(found, dict) else None


def _conditions(service: Object) -> list[Object]:
    conditions = (service.get("status") or {}).get("conditions") or ()
    return [entry for entry in conditions if entry.get("type") == "Available"]


def _is_available(service: Object) -> bool:
    return any(entry.get("status") == "True" for entry in _conditions(service))


def _group_version(path: str) -> tuple[str, str] | None:
    """Of `/apis/GROUP/VERSION` and `/openapi/v3/apis/GROUP/VERSION`."""
    parts = [part for part in path.split("/") if part]
    if parts[:2] == ["openapi", "v3"]:
        parts = parts[2:]
    return (parts[1], parts[2]) if len(parts) == 3 and parts[0] == "apis" else None


def _unavailable() -> Response:
    return Response(503, _UNAVAILABLE, "text/plain; charset=utf-8")


def _rewritten(request: Request, response: Response, document: Object) -> Response:
    body = orjson.dumps(document)
    headers = dict(response.headers)
    if "etag" in headers:
        etag = hashlib.sha256(body).hexdigest().upper()
        headers["etag"] = f'"{etag}"'
        if request.headers.get("if-none-match", "").strip('"') == etag:
            return Response(304, headers=headers, content_type=response.content_type)
    return Response(200, body, response.content_type, headers)


async def _ignoring(reasons: tuple[str, ...], write: object) -> None:
    try:
        await write  # type: ignore[misc]  # any of the client's coroutines
    except ApiError as error:
        if error.reason not in reasons:
            raise
