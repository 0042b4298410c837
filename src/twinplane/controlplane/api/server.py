"""The API server: authenticate, authorize, route, run the verb, and turn every refusal into a Status.

`ApiServer.handle` is called by `api.http` for sockets and by `api.inprocess` for callers in the same process. The verbs
are functions in a table; what a type or subresource supports is read from the table of types.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from twinplane.controlplane.api.bodies import PROTOBUF
from twinplane.controlplane.api.contract import Request, Response
from twinplane.controlplane.api.discovery import NonResources, not_served, warning_header
from twinplane.controlplane.api.encoding import dump
from twinplane.controlplane.api.extensions.customresources.conversion import ATTEMPTS, ConversionNeeded
from twinplane.controlplane.api.identity import Identities
from twinplane.controlplane.api.metrics import Labels
from twinplane.controlplane.api.pretty import indented, is_read_by_people
from twinplane.controlplane.api.routing import Route, route
from twinplane.controlplane.api.runtime import Call, ServerRuntime
from twinplane.controlplane.api.streams.connect import connect
from twinplane.controlplane.api.streams.proxy import proxy
from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.controlplane.api.verbs import logs, pods, reviews, scale
from twinplane.controlplane.api.verbs.create import create
from twinplane.controlplane.api.verbs.delete import delete, delete_collection
from twinplane.controlplane.api.verbs.get import get
from twinplane.controlplane.api.verbs.list import list_
from twinplane.controlplane.api.verbs.patch import patch
from twinplane.controlplane.api.verbs.update import update
from twinplane.controlplane.api.verbs.watch import watch
from twinplane.controlplane.auth.contract import Attributes, UserInfo
from twinplane.controlplane.store.contract import OutcomeUnknown, StorageFull, StoreError, StoreUnavailable
from twinplane.kubeclient.errors import ApiError, forbidden

if TYPE_CHECKING:
    from twinplane.controlplane.api.extensions.aggregation.services import Aggregator

Verb = Callable[[Call], Awaitable[Response]]

VERBS: dict[str, Verb] = {
    "get": get,
    "list": list_,
    "watch": watch,
    "create": create,
    "update": update,
    "patch": patch,
    "delete": delete,
    "deletecollection": delete_collection,
}
SUBRESOURCES: dict[tuple[str, str], Verb] = {
    ("scale", "get"): scale.get_scale,
    ("scale", "update"): scale.update_scale,
    ("scale", "patch"): scale.patch_scale,
    ("binding", "create"): pods.bind,
    ("eviction", "create"): pods.evict,
    ("log", "get"): logs.log,
    ("token", "create"): reviews.create_token,
}
"""Those with a body or answer of their own; the others are the object itself, got, updated or patched in part."""
_STREAMS: dict[str, Verb] = {"exec": connect, "attach": connect, "portforward": connect, "proxy": proxy}
"""Whatever the verb."""
_MUTATING = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_NOT_ALLOWED = "the server does not allow this method on the requested resource"
_log = logging.getLogger(__name__)


class ApiServer:
    """Implements `Handler`. `runtime.cache` must have been started."""

    def __init__(self, runtime: ServerRuntime) -> None:
        self.runtime = runtime
        self._identities = Identities(runtime)
        self._non_resources = NonResources(runtime)
        self.aggregator: Aggregator | None = None
        """Set by whoever runs the API extensions."""

    async def handle(self, request: Request) -> Response:
        """Never raises for a bad request. What no client can cause is logged and answered with 500."""
        began = self.runtime.monotonic()
        found = route(request.method, request.path, request.query)
        kind = "mutating" if found.verb in _MUTATING else "readOnly"
        in_flight = self.runtime.metrics.in_flight
        in_flight[kind] += 1
        try:
            response = await self._answer(request, found)
        except ApiError as error:
            response = _refusal(error)
        except StorageFull:
            response = _refusal(ApiError("InternalError", "the store has no space left on its disk", code=507))
        except OutcomeUnknown as error:
            response = _refusal(ApiError("Timeout", f"request did not complete, it may be done or not: {error}"))
        except StoreUnavailable as error:
            message = f"the store is not available: {error}"
            response = _refusal(ApiError("ServiceUnavailable", message, retry_after=1))
        except StoreError as error:
            response = _refusal(ApiError("ServiceUnavailable", f"the store is not available: {error}"))
        except Exception:  # noqa: BLE001 - the boundary of a request, see `_failed`
            response = _failed(request)
        finally:
            in_flight[kind] -= 1
        if PROTOBUF in request.headers.get("accept", "") or is_read_by_people(request):
            try:
                response = await self._encoded(request, found, response)
            except Exception:  # noqa: BLE001 - the boundary of a request, see `_failed`
                response = _failed(request)
        self.runtime.metrics.observe(self._labels(found), response.status, self.runtime.monotonic() - began)
        return response

    async def _encoded(self, request: Request, found: Route, response: Response) -> Response:
        """In protobuf for a client that takes nothing else, indented for people, where it is ours to encode."""
        from twinplane.controlplane.api.protobuf import answers

        is_custom = False
        if found.is_resource:
            served = self.runtime.registry.lookup(found.group, found.version, found.resource)
            if served is None or found.subresource in _STREAMS:
                return response
            is_custom = not served.schema.reference
        if answers.wanted(request.headers.get("accept", "")):
            # Custom resources know no protobuf, not even for refusals.
            return response if is_custom and response.status >= 400 else await answers.answer(response)
        return indented(response) if is_read_by_people(request) and not found.path.startswith("/openapi") else response

    async def _answer(self, request: Request, found: Route) -> Response:
        audit = self.runtime.audit
        if audit is None:
            user = await self._identities.of(request)
            return await self._in_turn(request, found, user, {})
        try:
            user = await self._identities.of(request)
        except ApiError as error:
            audit.not_let_in(request, found, error)
            raise
        impersonator = await self._identities.impersonator(request)
        return await audit.around(request, found, user, self._in_turn, impersonator=impersonator)

    async def _in_turn(self, request: Request, found: Route, user: UserInfo, annotations: dict[str, str]) -> Response:
        """When there are seats for it. Raises TooManyRequests."""
        fairness = self.runtime.fairness
        if fairness is None:
            return await self._served(request, found, user, annotations)
        flow = fairness.flow(user, found)
        seats = fairness.seats(flow, found, request.query)
        level = flow.level
        if seats and not level.start(seats):
            await level.wait(flow.hand, seats)
        try:
            response = await self._served(request, found, user, annotations)
        except ApiError as error:
            response = _refusal(error)
        finally:
            if seats:
                level.end(seats)
        response.headers.update(flow.headers)
        return response

    async def _served(self, request: Request, found: Route, user: UserInfo, annotations: dict[str, str]) -> Response:
        self._authorize(request, user, found, annotations)
        aggregator = self.aggregator if self.aggregator is not None and self.aggregator.remotes else None
        if aggregator is not None and (remote := aggregator.remote_of(request, found)) is not None:
            return await aggregator.answer(remote, request, found, user)
        if not found.is_resource:
            if request.method not in ("GET", "HEAD"):
                raise ApiError("MethodNotAllowed", _NOT_ALLOWED, details={})
            if (health := await self._non_resources.health(request)) is not None:
                return health
            if aggregator is not None:
                return aggregator.remote_group(request.path) or aggregator.merged(
                    request, self._non_resources.answer(request)
                )
            return self._non_resources.answer(request)
        call = self._call(request, found, user, annotations)
        if not request.query.get("resourceVersion"):
            # Reads are consistent unless told otherwise, and writes begin with a read.
            await self.runtime.cache.catch_up()
        response = await self._run(call)
        if call.warnings:
            shown = dict.fromkeys(call.warnings)
            response.headers["warning"] = ", ".join(warning_header(text) for text in shown)
        return response

    def _labels(self, found: Route) -> Labels:
        """Only what is served gets labels of its own: clients must not be able to make metrics grow."""
        verb = "CONNECT" if found.subresource in _STREAMS else _SHOWN.get(found.verb, found.verb.upper())
        served = self.runtime.registry.lookup(found.group, found.version, found.resource)
        if served is None or (found.subresource and served.subresource(found.subresource) is None):
            return Labels(verb, "", "", "", "", "")
        scope = "resource" if found.name else "namespace" if found.namespace else "cluster"
        return Labels(verb, found.group, found.version, found.resource, found.subresource, scope)

    async def _run(self, call: Call) -> Response:
        """A verb that meets a version which only a webhook can make is run again once it is known."""
        verb = self._verb(call)
        for _ in range(ATTEMPTS):
            try:
                return await verb(call)
            except ConversionNeeded as needed:
                await needed.resolve()
        raise ApiError("InternalError", "Internal error occurred: conversion webhook did not settle")

    def _authorize(self, request: Request, user: UserInfo, found: Route, annotations: dict[str, str]) -> None:
        if found.is_resource:
            attributes = Attributes(
                user,
                found.verb,
                found.group,
                found.version,
                found.resource,
                found.subresource,
                found.namespace,
                found.name,
                field_selector=request.query.get("fieldSelector", ""),
            )
        else:
            attributes = Attributes(user, found.verb, path=found.path)
        decision = self.runtime.authorizer.authorize(attributes)
        if self.runtime.audit is not None:
            annotations["authorization.k8s.io/decision"] = "allow" if decision.allowed else "forbid"
            annotations["authorization.k8s.io/reason"] = decision.reason
        if not decision.allowed:
            raise denied(attributes, decision.reason)

    def _call(self, request: Request, found: Route, user: UserInfo, annotations: dict[str, str]) -> Call:
        registry = self.runtime.registry
        served = registry.lookup(found.group, found.version, found.resource)
        if served is None:
            raise not_served()
        if found.namespace and not served.resource.namespaced and served.resource.plural != "namespaces":
            raise not_served()
        storage = served.storage
        stored = served.extra.get("stored_type")
        if stored is None and storage is not None:
            stored = registry.lookup(storage.group, storage.version, storage.plural)
        if found.resource == "namespaces" and found.namespace and not found.name:
            found = found._replace(name=found.namespace)
        if found.name and found.verb in ("list", "watch", "deletecollection"):
            # The name came out of a field selector, for authorization only.
            found = found._replace(name="") if "fieldSelector" in request.query else found
        deprecation = served.extra.get("deprecation")
        warnings = [deprecation] if deprecation else []
        if deprecation:
            self.runtime.metrics.deprecated.add(self._labels(found)._replace(verb="", scope=""))
        return Call(self.runtime, request, found, served, stored or served, user, warnings, annotations=annotations)

    def _verb(self, call: Call) -> Verb:
        """Raises NotFound for unknown subresources and MethodNotAllowed for verbs that the type does not have."""
        verb, called = call.route.verb, call.type
        if call.route.subresource:
            return _subresource_verb(called, call.route.subresource, verb)
        if verb not in called.verbs or (verb in ("get", "update", "patch", "delete") and not _is_placed(call)):
            raise ApiError("MethodNotAllowed", _NOT_ALLOWED, details={})
        if called.persisted:
            return VERBS[verb]
        if called.resource.plural == "bindings":
            return pods.bind
        return reviews.create_review if verb == "create" else reviews.component_statuses


def _is_placed(call: Call) -> bool:
    """One object is addressed with its namespace, if its type has them."""
    return bool(call.name) and (bool(call.namespace) or not call.type.resource.namespaced)


def _subresource_verb(type: ResourceType, subresource: str, verb: str) -> Verb:
    offered = type.subresource(subresource)
    if offered is None:
        raise not_served()
    # The one method that is no verb: a proxied program may answer it.
    if verb not in offered.verbs and (subresource, verb) != ("proxy", "options"):
        raise ApiError("MethodNotAllowed", _NOT_ALLOWED, details={})
    return _STREAMS.get(subresource) or SUBRESOURCES.get((subresource, verb)) or VERBS[verb]


def denied(attributes: Attributes, reason: str) -> ApiError:
    """403 in the words of upstream's responsewriters.Forbidden."""
    from twinplane.controlplane.auth.authorization import denial

    why = denial(attributes, reason)
    if attributes.path:
        return ApiError("Forbidden", f"forbidden: {why}", details={})
    return forbidden(attributes.group, attributes.resource, attributes.name, why)


def _failed(request: Request) -> Response:
    """The boundary of a request: a defect in one of them must not end the connection without an answer."""
    _log.exception("%s %s failed", request.method, request.path)
    return _refusal(ApiError("InternalError", "an error on the server has prevented the request from succeeding"))


def _refusal(error: ApiError) -> Response:
    response = Response(error.code, dump(error.status()) + b"\n")
    if error.retry_after is not None:
        response.headers["retry-after"] = str(error.retry_after)
    if error.code == 401:
        response.headers["www-authenticate"] = "Bearer"
    return response


_SHOWN = {"create": "POST", "update": "PUT", "patch": "PATCH"}
