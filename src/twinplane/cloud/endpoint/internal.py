"""`/_twinplane/`: what the region's own processes ask each other over the AWS port.

Requests are signed like any other, with the administrator's key or with service credentials (any service name in the
scope), or bear the administrator's secret as a token: `Authorization: Bearer SECRET`. Answers are JSON.

    GET /_twinplane/health                                                    (public)
    GET /_twinplane/instance-types/TYPE
    GET /_twinplane/clusters/NAME/instances?after=REVISION&timeout=SECONDS
    GET /_twinplane/clusters/NAME/access-entries?after=REVISION&timeout=SECONDS
    GET /_twinplane/clusters/NAME/nodegroups?after=REVISION&timeout=SECONDS

Other parts of the daemon publish more (`Cloud.publish`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote

from twinplane.cloud.contract import Instance
from twinplane.cloud.endpoint.feed import Feed
from twinplane.cloud.requests import AwsRequest, AwsResponse

PREFIX = "/_twinplane/"
HEALTH = PREFIX + "health"
TIMEOUT_SECONDS_MAX = 60.0

Publication = Callable[[], Awaitable[Any]]
"""What a GET of a path answers, as values that JSON has."""


class Facts(Protocol):
    """The account, as far as this API reads it."""

    def instances(self, cluster: str = "") -> list[Instance]: ...

    async def instance_type(self, name: str) -> dict[str, Any] | None: ...


class ClusterFacts(Protocol):
    """The EKS service, as far as this API reads it. None for an unknown cluster."""

    def access_entries(self, cluster: str) -> list[dict[str, Any]] | None: ...

    def nodegroups(self, cluster: str) -> list[dict[str, Any]] | None: ...


class InternalApi:
    def __init__(
        self, account: Facts, clusters: ClusterFacts, feed: Feed, published: Mapping[str, Publication]
    ) -> None:
        self._published = published
        self._account = account
        self._clusters = clusters
        self._feed = feed

    async def answer(self, request: AwsRequest) -> AwsResponse:
        publication = self._published.get(request.path)
        if publication is not None and request.method == "GET":
            return AwsResponse.json(await publication())
        match [unquote(part) for part in request.path.removeprefix(PREFIX).split("/")]:
            case ["instance-types", name] if request.method == "GET":
                facts = await self._account.instance_type(name)
                return AwsResponse.json(facts) if facts else _not_found(f"no instance type {name}")
            case ["clusters", name, topic] if request.method == "GET" and topic in self._topics(name):
                return await self._poll(topic, name, parse_qs(request.query))
        return _not_found(f"no such path: {request.path}")

    def _topics(self, cluster: str) -> dict[str, Callable[[], Any]]:
        return {
            "instances": lambda: self._account.instances(cluster),
            "access-entries": lambda: self._clusters.access_entries(cluster),
            "nodegroups": lambda: self._clusters.nodegroups(cluster),
        }

    async def _poll(self, topic: str, cluster: str, query: dict[str, list[str]]) -> AwsResponse:
        try:
            after = int(query.get("after", ["-1"])[0])
            timeout = min(float(query.get("timeout", ["0"])[0]), TIMEOUT_SECONDS_MAX)
        except ValueError:
            return AwsResponse.json({"message": "after and timeout are numbers"}, 400)
        revision, value = await self._feed.poll(
            f"{cluster}/{topic}", self._topics(cluster)[topic], after, max(0.0, timeout)
        )
        if value is None:
            return _not_found(f"no cluster {cluster}")
        key = {"access-entries": "accessEntries"}.get(topic, topic)
        return AwsResponse.json({"revision": revision, key: value})


def _not_found(message: str) -> AwsResponse:
    return AwsResponse.json({"message": message}, 404)
