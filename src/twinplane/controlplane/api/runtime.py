"""What the API server is made of, handed in once by the composition root, and what verbs know of one request."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from twinplane.clock import Clock
from twinplane.controlplane.admission.contract import AdmissionPlugin
from twinplane.controlplane.api.contract import Request, Response
from twinplane.controlplane.api.encoding import dump
from twinplane.controlplane.api.fairness.fairness import Fairness
from twinplane.controlplane.api.metrics import Metrics
from twinplane.controlplane.api.objects.cache import ObjectCache
from twinplane.controlplane.api.objects.entry import Entry
from twinplane.controlplane.api.routing import Route
from twinplane.controlplane.api.streams.upstream import Upstream
from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.controlplane.api.types.registry import Registry
from twinplane.controlplane.api.types.rules import UpstreamRules
from twinplane.controlplane.api.views import View, negotiate
from twinplane.controlplane.audit.audit import Audit
from twinplane.controlplane.auth.contract import Authenticator, Authorizer, UserInfo
from twinplane.controlplane.store.contract import Store
from twinplane.kubeclient.contract import Object

if TYPE_CHECKING:
    from twinplane.controlplane.api.verbs.admission import Step
    from twinplane.controlplane.api.verbs.replicas import Template

CreateToken = Callable[[str, str, Object], Object]
"""(namespace, service account, TokenRequest) -> the TokenRequest with its status."""
ReviewToken = Callable[[Object], Awaitable[Object]]
"""TokenReview -> the same with its status."""
RulesFor = Callable[[UserInfo, str], list[dict[str, Any]]]
"""(user, namespace) -> PolicyRules, for SelfSubjectRulesReview."""


class KubeletDialer(Protocol):
    """How the server reaches the kubelet of a node."""

    async def get(self, node: Object, path: str, query: dict[str, str]) -> Response:
        """A streamed answer. Raises `ApiError` when the kubelet cannot be reached or refuses."""
        ...

    async def connect(self, node: Object) -> Upstream:
        """A connection to the kubelet, for one request. Raises NotFound without an address, otherwise OSError."""
        ...

    async def reach(self, node: Object | None, host: str, port: int) -> Upstream:
        """A connection to an address of the cluster's network, by way of a node where one is known. As `connect`."""
        ...


@dataclass(frozen=True, slots=True)
class ServerRuntime:
    """`documents` answers extra non-resource paths with JSON (OIDC discovery: `/openid/v1/jwks`, ...)."""

    store: Store
    cache: ObjectCache
    registry: Registry
    rules: UpstreamRules
    authenticator: Authenticator
    authorizer: Authorizer
    admission: tuple[AdmissionPlugin, ...]
    clock: Clock
    random: Random
    version: Object
    """The body of /version: major, minor, gitVersion, platform, ..."""
    create_token: CreateToken
    review_token: ReviewToken
    rules_for: RulesFor
    kubelet: KubeletDialer
    documents: dict[str, Callable[[], Object]] = field(default_factory=dict)
    monotonic: Callable[[], float] = time.monotonic
    """Seconds, for durations and the lifetime of remembered authentications."""
    metrics: Metrics = field(default_factory=Metrics)
    fairness: Fairness | None = None
    audit: Audit | None = None
    """Both are off, and cost nothing, when None."""
    admission_plans: dict[object, tuple[Step, ...]] = field(default_factory=dict)
    """See `verbs.admission`."""
    templates: OrderedDict[Hashable, Template | None] = field(default_factory=OrderedDict)
    """Of pods, the latest used last, None for what was asked for once; see `verbs.replicas`."""


@dataclass(slots=True)
class Call:
    """One request about resources. `type` is the one in the path, `stored` the one that objects are stored as."""

    runtime: ServerRuntime
    request: Request
    route: Route
    type: ResourceType
    stored: ResourceType
    user: UserInfo
    warnings: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)
    """For the audit log: what authorization and admission have to say."""

    @property
    def name(self) -> str:
        return self.route.name

    @property
    def namespace(self) -> str:
        """Empty for cluster-scoped types, also for namespaces themselves."""
        return self.route.namespace if self.type.resource.namespaced else ""

    @property
    def subresource(self) -> str:
        return self.route.subresource

    def entry(self) -> Entry | None:
        return self.runtime.cache.get(self.stored.resource, self.namespace, self.route.name)

    def view(self) -> View:
        """How the client wants to see objects of this type. Raises NotAcceptable."""
        accepted = negotiate(self.request.headers.get("accept", ""), protobuf=bool(self.type.schema.reference))
        include = self.request.query.get("includeObject", "Metadata") if accepted.shape == "table" else ""
        return View(self.type, accepted, include, self.runtime.rules, self.runtime.clock)

    def to_requested(self, body: Object) -> Object:
        """A stored body in the version of the path; with a webhook it may be of an earlier storage version."""
        if self.type.storage is None and "converter" not in self.type.extra:
            return body
        return self.runtime.rules.convert(body, self.stored.resource, self.type.resource)

    def to_stored(self, body: Object) -> Object:
        if self.type.storage is None:
            return body
        return self.runtime.rules.convert(body, self.type.resource, self.stored.resource)


def answer(view: View, value: bytes, status: int = 200) -> Response:
    """Stored bytes as the view shows them."""
    if view.shows_stored_bytes and not view.accepted.yaml:
        return Response(status, value)
    return respond(view.show(value), status, yaml=view.accepted.yaml)


def respond(body: Object, status: int = 200, *, yaml: bool = False) -> Response:
    if yaml:
        import yaml as yaml_library

        text = yaml_library.safe_dump(body, sort_keys=True, allow_unicode=True)
        return Response(status, text.encode(), content_type="application/yaml")
    return Response(status, dump(body) + b"\n")
