"""Admission: what may still change or refuse a write after the caller has been let in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from twinplane.controlplane.auth.contract import UserInfo
from twinplane.kubeclient.contract import Object, Resource


@dataclass(slots=True)
class Reinvocation:
    """Upstream's reinvocation context: after a webhook or policy changed the object, all plugins look once more.

    `wanted` is set by the plugin that changed it, `running` during that second look. The sets are kept by plugin name:
    who asked to be called again if something changes after him, and who is to be called again.
    """

    wanted: bool = False
    running: bool = False
    previous: dict[str, set[str]] = field(default_factory=dict)
    again: dict[str, set[str]] = field(default_factory=dict)
    seen: dict[str, Object] = field(default_factory=dict)
    """What the plugin last left behind, to see whether others changed it since."""


@dataclass(slots=True)
class AdmissionRequest:
    """`object` may be changed in place by `admit`; it is None for DELETE, `old` is None for CREATE."""

    operation: Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]
    resource: Resource
    subresource: str
    namespace: str
    name: str
    object: Object | None
    old: Object | None
    user: UserInfo
    dry_run: bool = False
    options: Object = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)
    """For the audit log."""
    requested: Resource | None = None
    """The version in the request's path, where objects are stored in another one."""
    reinvocation: Reinvocation = field(default_factory=Reinvocation)


class AdmissionPlugin(Protocol):
    """`admit` runs for all plugins in order and may mutate; then `validate` for all. Both may raise `ApiError`."""

    name: str

    def handles(self, request: AdmissionRequest) -> bool:
        """Cheap: it is asked on every write."""
        ...

    async def admit(self, request: AdmissionRequest) -> None: ...

    async def validate(self, request: AdmissionRequest) -> None: ...


class Stored(Protocol):
    """One stored object, parsed only by who needs its fields."""

    @property
    def key(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def revision(self) -> int: ...

    def parsed(self) -> Object: ...


class ObjectReader(Protocol):
    """The API server's own objects, read from memory: what authorizers and admission plugins look at.

    Returned objects are shared and must not be changed.
    """

    def get(self, resource: Resource, name: str, namespace: str = "") -> Object | None: ...

    def labels(self, resource: Resource, name: str, namespace: str = "") -> Mapping[str, str]:
        """Without parsing the object; empty when it is not there."""
        ...

    def list(self, resource: Resource, namespace: str = "") -> list[Object]:
        """All namespaces when `namespace` is empty."""
        ...

    def on_node(self, node: str, namespace: str = "") -> Sequence[Stored]:
        """The pods bound to a node, by an index."""
        ...

    def revision(self, resource: Resource) -> int:
        """Changes whenever an object of the type changes: what derived tables are keyed on."""
        ...
