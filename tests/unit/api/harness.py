"""A whole API server in memory, as tests of its verbs need it: real store, real types, everything allowed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random
from typing import Any

import orjson

from twinplane.clock import Clock, SystemClock
from twinplane.controlplane.admission.contract import AdmissionPlugin
from twinplane.controlplane.api.contract import Request, Response
from twinplane.controlplane.api.encoding import stamp
from twinplane.controlplane.api.inprocess import InProcessClient
from twinplane.controlplane.api.objects.cache import ObjectCache
from twinplane.controlplane.api.runtime import ServerRuntime
from twinplane.controlplane.api.server import ApiServer
from twinplane.controlplane.api.streams.upstream import Upstream
from twinplane.controlplane.api.types.registry import Registry, built_in_types
from twinplane.controlplane.api.types.rules import UpstreamRules
from twinplane.controlplane.auth.contract import ANONYMOUS, Attributes, Credentials, Decision, UserInfo
from twinplane.controlplane.store.embedded import EmbeddedStore
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError, unauthorized
from twinplane.kubeclient.resources import NAMESPACES

ADMIN = UserInfo("admin", ("system:masters", "system:authenticated"))
TOKEN = "secret"
_SHARED: list[tuple[Registry, UpstreamRules]] = []
"""Reading the definitions takes longer than most tests."""


def types() -> tuple[Registry, UpstreamRules]:
    if not _SHARED:
        registry = built_in_types("1.36")
        _SHARED.append((registry, UpstreamRules(registry)))
    return _SHARED[0]


class TokenAuthenticator:
    """Knows `TOKEN`; anything else but nothing is refused."""

    def __init__(self) -> None:
        self.asked = 0

    async def authenticate(self, credentials: Credentials) -> UserInfo | None:
        self.asked += 1
        if credentials.token == TOKEN:
            return ADMIN
        if credentials.token:
            raise unauthorized()
        return ANONYMOUS


class PolicyAuthorizer:
    """Allows what `policy` says; by default everything to masters."""

    def __init__(self, policy: Callable[[Attributes], bool] | None = None) -> None:
        self.policy = policy or (lambda attributes: "system:masters" in attributes.user.groups)
        self.seen: list[Attributes] = []

    def authorize(self, attributes: Attributes) -> Decision:
        self.seen.append(attributes)
        return Decision(self.policy(attributes))


class NoKubelet:
    async def get(self, node: Object, path: str, query: dict[str, str]) -> Response:
        raise ApiError("InternalError", f"no kubelet for {path}", code=503)

    async def connect(self, node: Object) -> Upstream:
        raise ConnectionRefusedError(f"no kubelet of {node['metadata']['name']}")

    async def reach(self, node: Object | None, host: str, port: int) -> Upstream:
        raise ConnectionRefusedError(f"no way to {host}:{port}")


async def _no_review(review: Object) -> Object:
    return {**review, "status": {"authenticated": review["spec"].get("token") == TOKEN}}


class Api:
    """The server, and requests to it as a client would write them."""

    def __init__(self, runtime: ServerRuntime) -> None:
        self.runtime = runtime
        self.server = ApiServer(runtime)
        self.client = InProcessClient(self.server, ADMIN, "tests")

    async def send(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        user: UserInfo | None = ADMIN,
        token: str = "",
    ) -> Response:
        from twinplane.controlplane.api.http.requests import _query

        path, _, text = target.partition("?")
        query, queries = _query(text)
        sent = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        known = {"user-agent": "tests/1.0", "content-type": "application/json"} | (headers or {})
        return await self.server.handle(Request(method, path, query, known, sent, Credentials(token), user, queries))

    async def json(self, method: str, target: str, body: Any = None, *, expect: int = 200, **more: Any) -> Any:
        response = await self.send(method, target, body, **more)
        assert response.status == expect, (response.status, response.body)
        return orjson.loads(response.body)

    async def refused(self, method: str, target: str, body: Any = None, **more: Any) -> tuple[int, str, str]:
        """(code, reason, message)."""
        response = await self.send(method, target, body, **more)
        status = orjson.loads(response.body)
        assert status["kind"] == "Status", status
        assert status["status"] == "Failure", status
        assert status["code"] == response.status
        return response.status, status.get("reason", ""), status["message"]


@asynccontextmanager
async def api_server(
    *,
    clock: Clock | None = None,
    admission: Sequence[AdmissionPlugin] = (),
    authorizer: PolicyAuthorizer | None = None,
    kept_events: int | None = None,
    **changes: Any,
) -> AsyncIterator[Api]:
    clock = clock or SystemClock()
    kept = {} if kept_events is None else {"kept_events": kept_events}
    store = await EmbeddedStore.open(None, stamp=stamp, clock=clock, **kept)
    registry, rules = types()
    cache = ObjectCache(store, registry, rules)
    await cache.start()
    runtime = ServerRuntime(
        store=store,
        cache=cache,
        registry=registry,
        rules=rules,
        authenticator=TokenAuthenticator(),
        authorizer=authorizer or PolicyAuthorizer(),
        admission=tuple(admission),
        clock=clock,
        random=Random(1),
        version={"major": "1", "minor": "36", "gitVersion": "v1.36.0"},
        create_token=lambda namespace, name, body: {**body, "status": {"token": f"{namespace}/{name}"}},
        review_token=_no_review,
        rules_for=lambda user, namespace: [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}],
        kubelet=NoKubelet(),
    )
    api = Api(replace(runtime, **changes))
    await api.client.create(NAMESPACES, {"metadata": {"name": "default"}})
    try:
        yield api
    finally:
        await cache.close()
        await store.close()


def pod(name: str = "", **more: Any) -> Object:
    """`more`: labels, node, finalizers, generate_name, containers."""
    metadata: Object = {"name": name} if name else {"generateName": more.get("generate_name", "pod-")}
    for field in ("labels", "finalizers", "annotations"):
        if field in more:
            metadata[field] = more[field]
    spec: Object = {"containers": [{"name": each, "image": "nginx"} for each in more.get("containers", ("main",))]}
    if "node" in more:
        spec["nodeName"] = more["node"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def config_map(name: str, data: dict[str, str] | None = None, **labels: str) -> Object:
    metadata = {"name": name, "labels": labels} if labels else {"name": name}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data or {}}
