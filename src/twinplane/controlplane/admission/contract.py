"""Admission: what may still change or refuse a write after the caller has been let in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from twinplane.controlplane.auth.contract import UserInfo
from twinplane.kubeclient.contract import Object, Resource


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


class AdmissionPlugin(Protocol):
    """`admit` runs for all plugins in order and may mutate; then `validate` for all. Both may raise `ApiError`."""

    name: str

    def handles(self, request: AdmissionRequest) -> bool:
        """Cheap: it is asked on every write."""
        ...

    async def admit(self, request: AdmissionRequest) -> None: ...

    async def validate(self, request: AdmissionRequest) -> None: ...


class ObjectReader(Protocol):
    """The API server's own objects, read from memory: what authorizers and admission plugins look at.

    Returned objects are shared and must not be changed.
    """

    def get(self, resource: Resource, name: str, namespace: str = "") -> Object | None: ...

    def list(self, resource: Resource, namespace: str = "") -> list[Object]:
        """All namespaces when `namespace` is empty."""
        ...

    def revision(self, resource: Resource) -> int:
        """Changes whenever an object of the type changes: what derived tables are keyed on."""
        ...
