"""May they: SubjectAccessReview of a subresource of this node, kept as upstream keeps it.

Paths and subresources are those of `pkg/kubelet/server/auth.go` with fine-grained authorization (GA in 1.36): the
finer subresource is asked for first, then nodes/proxy, which allows everything.
"""

from __future__ import annotations

from twinplane.clock import Clock
from twinplane.dataplane.kubelet.server.authentication import Kept, User
from twinplane.kubeclient.contract import KubeClient, Resource
from twinplane.kubeclient.errors import ApiError

SUBJECT_ACCESS_REVIEWS = Resource("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", False)
ALLOWED_SECONDS, DENIED_SECONDS = 300.0, 30.0
VERBS = {"POST": "create", "GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "HEAD": "get"}
SUBRESOURCES = (
    ("/stats", ("stats",)),
    ("/metrics", ("metrics",)),
    ("/logs", ("log",)),
    ("/checkpoint", ("checkpoint",)),
    ("/statusz", ("statusz", "proxy")),
    ("/flagz", ("flagz", "proxy")),
    ("/healthz", ("healthz", "proxy")),
    ("/pods", ("pods", "proxy")),
    ("/runningpods", ("pods", "proxy")),
    ("/configz", ("configz", "proxy")),
)


class Forbidden(Exception):
    """str() is what upstream answers, with `code` 403, or 500 when nobody could be asked."""

    def __init__(self, message: str, code: int = 403) -> None:
        super().__init__(message)
        self.code = code


def subresources(path: str) -> tuple[str, ...]:
    """Of nodes/NAME, any of which allows a path of the kubelet."""
    for prefix, found in SUBRESOURCES:
        if path == prefix or path.startswith(f"{prefix}/"):
            return found
    return ("proxy",)


class Authorization:
    def __init__(self, client: KubeClient, clock: Clock, node: str) -> None:
        self._client = client
        self._node = node
        self._decisions: Kept[bool] = Kept(clock)

    async def check(self, user: User, method: str, path: str) -> None:
        """Raises `Forbidden`."""
        verb = VERBS.get(method, "")
        asked = subresources(path)
        for subresource in asked:
            if await self._may(user, verb, subresource):
                return
        raise Forbidden(
            f"Forbidden (user={user.name}, verb={verb}, resource=nodes, subresource(s)=[{' '.join(asked)}])"
        )

    async def _may(self, user: User, verb: str, subresource: str) -> bool:
        key = (user, verb, subresource)
        kept = self._decisions.get(key)
        if kept is not None:
            return kept
        try:
            review = await self._client.create(SUBJECT_ACCESS_REVIEWS, self._review(user, verb, subresource))
        except (ApiError, OSError) as error:
            raise Forbidden(
                f"Authorization error (user={user.name}, verb={verb}, resource=nodes, subresource={subresource})", 500
            ) from error
        allowed = bool((review.get("status") or {}).get("allowed"))
        self._decisions.put(key, allowed, ALLOWED_SECONDS if allowed else DENIED_SECONDS)
        return allowed

    def _review(self, user: User, verb: str, subresource: str) -> dict[str, object]:
        attributes = {
            "verb": verb,
            "version": "v1",
            "resource": "nodes",
            "subresource": subresource,
            "name": self._node,
        }
        spec: dict[str, object] = {"user": user.name, "groups": list(user.groups), "resourceAttributes": attributes}
        if user.uid:
            spec["uid"] = user.uid
        if user.extra:
            spec["extra"] = {key: list(values) for key, values in user.extra}
        return {
            "apiVersion": SUBJECT_ACCESS_REVIEWS.api_version,
            "kind": SUBJECT_ACCESS_REVIEWS.kind,
            "metadata": {},
            "spec": spec,
        }
