"""audit.k8s.io/v1 Events: what is written of one request at one stage."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import orjson

from twinplane.clock import rfc3339_micro
from twinplane.controlplane.admission.webhooks.attributes import user_info
from twinplane.controlplane.api import bodies
from twinplane.controlplane.api.contract import Request
from twinplane.controlplane.api.routing import Route
from twinplane.controlplane.audit.policy import Decision
from twinplane.controlplane.auth.contract import UserInfo
from twinplane.kubeclient.contract import Object


@dataclass(slots=True)
class Record:
    """One request while it is audited. `received` is in seconds since the epoch."""

    id: str
    request: Request
    route: Route
    user: UserInfo
    impersonated: UserInfo | None
    decision: Decision
    received: float
    annotations: dict[str, str] = field(default_factory=dict)
    status: Object | None = None
    response: bytes = b""

    def line(self, stage: str, now: float) -> bytes:
        """The event as one line of JSON."""
        body: dict[str, Any] = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": self.decision.level,
            "auditID": self.id,
            "stage": stage,
            "requestURI": _uri(self.request),
            "verb": self.route.verb,
            "user": user_info(self.user),
        }
        if self.impersonated is not None:
            body["impersonatedUser"] = user_info(self.impersonated)
        sources = _sources(self.request)
        if sources:
            body["sourceIPs"] = sources
        agent = self.request.headers.get("user-agent")
        if agent:
            body["userAgent"] = agent
        body |= self._contents(stage)
        body["requestReceivedTimestamp"] = rfc3339_micro(self.received)
        body["stageTimestamp"] = rfc3339_micro(now)
        if self.annotations and stage != "RequestReceived":
            body["annotations"] = self.annotations
        return orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE)

    def _contents(self, stage: str) -> Object:
        contents: Object = {}
        request = None
        if self.request.body and (self.decision.keeps_request or self.route.verb == "create"):
            request = _parsed(self.request.body, self.request.headers.get("content-type", ""))
        if self.route.is_resource:
            contents["objectRef"] = self._reference(request)
        if stage == "RequestReceived":
            return contents
        if self.status is not None:
            contents["responseStatus"] = self.status
        if request is not None and self.decision.keeps_request:
            contents["requestObject"] = self._kept(request)
        if self.decision.keeps_response and self.response:
            contents["responseObject"] = self._response()
        return contents

    def _reference(self, body: Any) -> Object:
        route = self.route
        metadata = body.get("metadata") if isinstance(body, dict) else None
        metadata = metadata if isinstance(metadata, dict) else {}
        found = {
            "resource": route.resource,
            "namespace": route.namespace,
            "name": route.name or metadata.get("name"),
            "uid": metadata.get("uid"),
            "apiGroup": route.group,
            "apiVersion": route.version,
            "resourceVersion": metadata.get("resourceVersion"),
            "subresource": route.subresource,
        }
        return {key: value for key, value in found.items() if value}

    def _response(self) -> Any:
        if not self.decision.omits_managed_fields:
            return orjson.Fragment(self.response.rstrip())
        return self._kept(_parsed(self.response, ""))

    def _kept(self, body: Any) -> Any:
        if self.decision.omits_managed_fields and isinstance(body, dict):
            for each in (body, *(body.get("items") or ())):
                if isinstance(each, dict) and isinstance(each.get("metadata"), dict):
                    each["metadata"].pop("managedFields", None)
        return body


def _uri(request: Request) -> str:
    query = request.query_text or urlencode(list(request.query.items()))
    return f"{request.path}?{query}" if query else request.path


def _sources(request: Request) -> list[str]:
    """What proxies say, then the address that the connection came from."""
    forwarded = request.headers.get("x-forwarded-for", "")
    found = [part.strip() for part in forwarded.split(",") if part.strip()]
    return [*found, request.source] if request.source else found


def _parsed(data: bytes, content_type: str) -> Any:
    """None for what cannot be read: the request is then refused anyway."""
    media = bodies.media_type(content_type)
    try:
        if media == bodies.PROTOBUF:
            return bodies.parse_protobuf(data)
        return bodies.parse_yaml(data) if "yaml" in media else bodies.parse_json(data)
    except bodies.Malformed:
        return None
