"""The paths that are not about resources: discovery, OpenAPI, version, health and metrics.

Documents are made by `types.discovery` and `types.openapi` when first asked for, and kept as bytes until a type is
registered or unregistered. Every client asks for them at start, with an ETag from the second time on.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import orjson

from twinplane.controlplane.api.contract import Request, Response
from twinplane.controlplane.api.runtime import ServerRuntime, respond
from twinplane.controlplane.store.contract import StoreError
from twinplane.kubeclient.errors import ApiError

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_STARTED = (
    # The object cache, and what follows it: admission, custom resources.
    *("start-apiserver-admission-initializer", "generic-apiserver-start-informers", "storage-readiness"),
    *("start-apiextensions-informers", "start-apiextensions-controllers", "crd-informer-synced"),
    # What is put into every cluster's store.
    *("start-system-namespaces-controller", "bootstrap-controller", "rbac/bootstrap-roles"),
    *("scheduling/bootstrap-system-priority-classes", "priority-and-fairness-config-producer"),
    "start-cluster-authentication-info-controller",
    # Loops of the server's own.
    *("start-service-ip-repair-controllers", "start-legacy-token-tracking-controller"),
    "start-kube-apiserver-identity-lease-controller",
    "start-kube-apiserver-identity-lease-garbage-collector",
    # Aggregation.
    *("start-kube-aggregator-informers", "apiservice-registration-controller", "kube-apiserver-autoregistration"),
    *("apiservice-status-local-available-controller", "apiservice-status-remote-available-controller"),
    "apiservice-openapi-controller",
)
"""What upstream begins after it listens, and tells the health of by these names. Here all of it has begun before
the first client can connect, in one form or another; upstream's tests and people's dashboards look for the names.
"""
_ALIVE = ("ping", "log", "etcd", *(f"poststarthook/{name}" for name in _STARTED), "autoregister-completion")
CHECKS = {
    "healthz": _ALIVE,
    "livez": _ALIVE,
    "readyz": (*_ALIVE[:3], "etcd-readiness", "informer-sync", *_ALIVE[3:], "shutdown"),
}
_OF_STORE = ("etcd", "etcd-readiness")
NOT_FOUND = "the server could not find the requested resource"
STORE_SECONDS = 2.0
"""Upstream's --etcd-healthcheck-timeout and --etcd-readycheck-timeout."""
_HEALTH = ("healthz", "livez", "readyz")


def not_served() -> ApiError:
    return ApiError("NotFound", NOT_FOUND, details={})


class Documents:
    """Bytes and their ETags by name, forgotten when the table of types changes."""

    def __init__(self, runtime: ServerRuntime) -> None:
        self._registry = runtime.registry
        self._generation = -1
        self._kept: dict[str, tuple[bytes, str]] = {}

    def get(self, name: str, make: Callable[[], bytes]) -> tuple[bytes, str]:
        if self._generation != self._registry.generation:
            self._generation = self._registry.generation
            self._kept = {}
        found = self._kept.get(name)
        if found is None:
            body = make()
            found = self._kept[name] = (body, hashlib.sha256(body).hexdigest().upper())
        return found


class NonResources:
    def __init__(self, runtime: ServerRuntime) -> None:
        self._runtime = runtime
        self._documents = Documents(runtime)

    def answer(self, request: Request) -> Response:
        """Raises NotFound for paths that nobody serves."""
        first, *rest = [part for part in request.path.split("/") if part] or [""]
        response = self._fixed(request, first) if not rest else self._below(request, first, rest)
        if response is not None:
            return response
        make = self._runtime.documents.get(request.path)
        if make is None:
            raise not_served()
        return respond(make())

    def _fixed(self, request: Request, name: str) -> Response | None:
        match name:
            case "":
                return respond({"paths": self._paths()})
            case "api" | "apis":
                return self._roots(request, name)
            case "version":
                return respond(self._runtime.version)
            case "metrics":
                return self._metrics()
        return None

    def _below(self, request: Request, first: str, rest: list[str]) -> Response | None:
        match first, *rest:
            case "api", version:
                return self._resources("", version)
            case "apis", group:
                return self._group(group)
            case "apis", group, version:
                return self._resources(group, version)
            case "openapi", "v2":
                return self._openapi_v2(request)
            case "openapi", "v3", *path:
                return self._openapi_v3(request, "/".join(path))
        return None

    def _cached(
        self, request: Request, name: str, content_type: str, make: Callable[[], bytes], etag: str = ""
    ) -> Response:
        body, hashed = self._documents.get(name, make)
        etag = etag or hashed
        headers = {"etag": f'"{etag}"', "vary": "Accept", "cache-control": "public"}
        if request.headers.get("if-none-match", "").strip('"') == etag:
            return Response(304, headers=headers, content_type=content_type)
        return Response(200, body, content_type, headers)

    def _roots(self, request: Request, root: str) -> Response:
        from twinplane.controlplane.api.types import discovery

        registry = self._runtime.registry
        if _accepts_aggregated(request.headers.get("accept", "")):
            legacy = root == "api"
            return self._cached(
                request, f"aggregated {root}", AGGREGATED, lambda: orjson.dumps(discovery.aggregated(registry, legacy))
            )
        body = discovery.legacy_versions() if root == "api" else discovery.group_list(registry)
        return respond(body)

    def _group(self, group: str) -> Response:
        from twinplane.controlplane.api.types import discovery

        registry = self._runtime.registry
        found = discovery.group(registry, group)
        if found is None:
            raise not_served()
        return respond(found)

    def _resources(self, group: str, version: str) -> Response:
        from twinplane.controlplane.api.types import discovery

        registry = self._runtime.registry
        if version not in registry.versions(group):
            raise not_served()
        make = lambda: orjson.dumps(discovery.resource_list(registry, group, version))  # noqa: E731
        return Response(200, self._documents.get(f"resources {group}/{version}", make)[0])

    def _openapi_v2(self, request: Request) -> Response:
        from twinplane.controlplane.api.types import openapi

        registry = self._runtime.registry
        accept = request.headers.get("accept", "").replace("v2@v1.0", "v2.v1.0")
        if openapi.protobuf.MEDIA_TYPE in accept:
            make = lambda: openapi.v2_protobuf(registry)  # noqa: E731
            return self._cached(request, "openapi v2 protobuf", openapi.protobuf.MEDIA_TYPE, make)
        if "application/json" not in accept and "*/*" not in accept and "protobuf" in accept:
            raise ApiError("NotAcceptable", "only the following media types are accepted: application/json")
        return self._cached(request, "openapi v2", "application/json", lambda: openapi.v2(registry))

    def _openapi_v3(self, request: Request, path: str) -> Response:
        from twinplane.controlplane.api.types import openapi

        registry = self._runtime.registry
        if not path:
            make = lambda: orjson.dumps(openapi.v3_index(registry))  # noqa: E731
            return self._cached(request, "openapi v3", "application/json", make)

        path = path.strip("/")
        etag = openapi.v3_hash(registry, path)
        if etag is None:
            raise not_served()
        asked = request.query.get("hash", "")
        if asked not in ("", etag):
            return Response(301, headers={"location": f"/openapi/v3/{path}?hash={etag}"})
        make_one = lambda: openapi.v3(registry, path) or b""  # noqa: E731
        found = self._cached(request, f"openapi v3 {path}", "application/json", make_one, etag)
        if asked:
            # What has its hash in its address never changes.
            expires = datetime.fromtimestamp(self._runtime.clock.now(), UTC) + timedelta(days=365)
            found.headers["cache-control"] = "public, immutable"
            found.headers["expires"] = expires.strftime("%a, %d %b %Y %H:%M:%S UTC")
        return found

    def _metrics(self) -> Response:
        from twinplane.controlplane.api import process_metrics

        cache = self._runtime.cache
        text = self._runtime.metrics.text(cache.counts(), cache.watcher_count())
        if self._runtime.fairness is not None:
            text += self._runtime.fairness.metrics()
        text += process_metrics.text(self._runtime.version)
        return Response(200, text.encode(), content_type="text/plain; version=0.0.4; charset=utf-8")

    def _paths(self) -> list[str]:
        registry = self._runtime.registry
        groups = [path for group in registry.groups() for path in self._group_paths(group)]
        health = [f"/{kind}" for kind in _HEALTH]
        return sorted(
            ["/api", "/api/v1", "/apis", *groups, *health, "/metrics", "/openapi/v2", "/openapi/v3", "/version"]
        )

    def _group_paths(self, group: str) -> list[str]:
        return [f"/apis/{group}", *(f"/apis/{group}/{version}" for version in self._runtime.registry.versions(group))]

    async def health(self, request: Request) -> Response | None:
        """None for a path that is not about health. Raises NotFound for a check that there is not."""
        kind, _, check = request.path.strip("/").partition("/")
        if kind not in _HEALTH:
            return None
        names = [name for name in CHECKS[kind] if check in ("", name)]
        if not names:
            raise not_served()
        excluded = set(request.queries.get("exclude", ())) if not check else set()
        asked = [name for name in names if name not in excluded]
        failed = "etcd" in asked and not await self._store_answers()
        lines = [
            f"[+]{name} excluded: ok"
            if name in excluded
            else f"[-]{name} failed: reason withheld"
            if failed and name in _OF_STORE
            else f"[+]{name} ok"
            for name in names
        ]
        if odd := sorted(excluded.difference(names)):
            shown = ", ".join(f'"{name}"' for name in odd)
            lines.append(f"warn: some health checks cannot be excluded: no matches for {shown}")
        verdict = f"{kind} check {'failed' if failed else 'passed'}"
        text = "\n".join((*lines, verdict, "")) if failed or "verbose" in request.query else "ok"
        return Response(500 if failed else 200, text.encode(), content_type="text/plain; charset=utf-8")

    async def _store_answers(self) -> bool:
        """In time, and the cache still follows it."""
        if self._runtime.cache.failure is not None:
            return False
        try:
            async with asyncio.timeout(STORE_SECONDS):
                await self._runtime.store.horizon()
        except (StoreError, TimeoutError):
            return False
        return True


def warning_header(text: str) -> str:
    """One value of the Warning header, as RFC 7234 and upstream quote it."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ").replace("\r", " ")
    return f'299 - "{quoted}"'


@lru_cache(maxsize=256)
def _accepts_aggregated(accept: str) -> bool:
    """In the version that is not removed."""
    wanted = {"as=APIGroupDiscoveryList", "v=v2", "g=apidiscovery.k8s.io"}
    return any(wanted <= {part.strip() for part in clause.split(";")} for clause in accept.split(","))
