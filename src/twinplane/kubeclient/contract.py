"""What a client of the Kubernetes API can do, whoever serves it and however it is reached.

Controllers, the scheduler, the cloud controller and the nodes are written against `KubeClient` alone. Two
implementations: `kubeclient.http` (TLS, any API server, upstream's too) and `controlplane.api.inprocess` (the same
requests without sockets). Objects are plain JSON dictionaries, as on the wire.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal, NamedTuple, Protocol

Object = dict[str, Any]

PatchType = Literal[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
]


class Resource(NamedTuple):
    """Where a type lives on the wire: `/apis/GROUP/VERSION[/namespaces/NS]/PLURAL`."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        path = f"{root}{scope}/{self.plural}"
        if name:
            path += f"/{name}"
        return f"{path}/{subresource}" if subresource else path


class ObjectList(NamedTuple):
    items: list[Object]
    resource_version: str
    continue_: str = ""


class WatchEvent(NamedTuple):
    """`type` is ADDED, MODIFIED, DELETED or BOOKMARK (an ERROR event is raised as `ApiError`)."""

    type: str
    object: Object


class KubeClient(Protocol):
    """Every method raises `kubeclient.errors.ApiError` for an answer of 400 and above."""

    async def get(
        self, resource: Resource, name: str, namespace: str | None = None, *, query: Mapping[str, str] | None = None
    ) -> Object:
        """`query` for APIs that take parameters of their own; without a `name` what is there is one document."""
        ...

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_: str = "",
        resource_version: str = "",
    ) -> ObjectList: ...

    def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[WatchEvent]:
        """Events after `resource_version`, bookmarks included, until the server ends the watch."""
        ...

    async def create(
        self,
        resource: Resource,
        body: Object,
        namespace: str | None = None,
        *,
        name: str | None = None,
        subresource: str | None = None,
    ) -> Object:
        """POST; `name` and `subresource` for e.g. pods/NAME/binding or serviceaccounts/NAME/token."""
        ...

    async def create_named(self, resource: Resource, body: Object, namespace: str | None = None) -> str:
        """As `create`, for who needs nothing of what was made but its name."""
        ...

    async def update(self, resource: Resource, body: Object, *, subresource: str | None = None) -> Object:
        """PUT to the name and namespace in the body's metadata; a stale resourceVersion is a Conflict."""
        ...

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Any,
        namespace: str | None = None,
        *,
        subresource: str | None = None,
        patch_type: PatchType = "application/merge-patch+json",
        field_manager: str = "",
        force: bool = False,
        wants_answer: bool = True,
    ) -> Object:
        """Without `wants_answer` an empty object, for writers of many who would not look at it."""
        ...

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        propagation_policy: str | None = None,
        grace_period_seconds: int | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
        wants_answer: bool = True,
    ) -> Object:
        """`uid` and `resource_version` are preconditions; `wants_answer` as of `patch`."""
        ...

    async def delete_collection(
        self, resource: Resource, namespace: str | None = None, *, label_selector: str = "", field_selector: str = ""
    ) -> None: ...
