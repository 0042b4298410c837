"""What admission plugins share: a base that does nothing, and a few questions about requests.

Each plugin is one file with one class; `chain` lists them in upstream's order. A plugin overrides `handles` and
`admit` or `validate`; the rest stays as it is here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import ClassVar

from twinplane.controlplane.admission.contract import AdmissionRequest
from twinplane.kubeclient import quantity
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import ApiError, bad_request, forbidden
from twinplane.kubeclient.quantity import Value

MIRROR = "kubernetes.io/config.mirror"


class Plugin(ABC):
    name = ""
    by_type: ClassVar[bool] = False
    """Whether `handles` looks at nothing but operation, type, subresource and whether there is a namespace: then it is
    asked once for each of these, not on every write.
    """
    waits_for: ClassVar[Sequence[Resource]] = ()
    """Types without whose objects it handles nothing: while there is none of one of them, it is not asked."""
    precedes_naming: ClassVar[bool] = False
    """Whether `admit` sees a new object as upstream's mutating webhooks do: before the server gives it uid, creation
    time and, where it is to be generated, its name.
    """
    reads: ClassVar[Sequence[Resource] | None] = None
    """The types of the objects that it looks at when a pod is created. None: it does more than look at objects and the
    request, so that the same pod may fare another way the next time.
    """

    @abstractmethod
    def handles(self, request: AdmissionRequest) -> bool:
        """Whether the other two are worth a call: asked on every write, unless it goes `by_type`."""

    async def admit(self, request: AdmissionRequest) -> None:  # noqa: B027 - most plugins have only one half
        """Change the object, or refuse it before other plugins see it."""

    async def validate(self, request: AdmissionRequest) -> None:  # noqa: B027 - as above
        """Refuse what the object has become."""

    async def state(self, request: AdmissionRequest) -> Hashable:
        """What it looks at beyond the objects of the types in `reads`."""
        return None


def concerns(request: AdmissionRequest, resource: Resource, *operations: str, subresource: str = "") -> bool:
    """Whether this is one of the operations on a type, in any of its versions."""
    mine = request.resource
    return (
        request.operation in operations
        and mine.plural == resource.plural
        and mine.group == resource.group
        and request.subresource == subresource
    )


def refuse(request: AdmissionRequest, why: str) -> ApiError:
    """403 `pods "x" is forbidden: WHY`; a name still to be generated is shown as upstream shows it."""
    return forbidden(request.resource.group, request.resource.plural, shown_name(request), why)


def shown_name(request: AdmissionRequest) -> str:
    if request.name:
        return request.name
    metadata = (request.object or request.old or {}).get("metadata") or {}
    return str(metadata.get("name") or metadata.get("generateName") or "Unknown")


def body_of(request: AdmissionRequest) -> Object:
    """The object of a CREATE or UPDATE."""
    if request.object is None:
        raise ApiError("BadRequest", "an object is required")
    return request.object


def part(parent: Object, field: str) -> Object:
    """The object in a field, made when it is absent or null: admission runs before validation."""
    found = parent.get(field)
    if not isinstance(found, dict):
        found = parent[field] = {}
    return found


def spec_of(request: AdmissionRequest) -> Object:
    return part(body_of(request), "spec")


def metadata_of(request: AdmissionRequest) -> Object:
    return part(body_of(request), "metadata")


def annotation(obj: Object, key: str) -> str | None:
    found = ((obj.get("metadata") or {}).get("annotations") or {}).get(key)
    return None if found is None else str(found)


def entries(parent: Object, *fields: str) -> list[Object]:
    """The objects in list fields, one list after the other; what is absent, null or no object is left out."""
    return [entry for field in fields for entry in parent.get(field) or () if isinstance(entry, dict)]


def is_mirror(pod: Object) -> bool:
    """A mirror pod stands for a static pod of a kubelet."""
    return annotation(pod, MIRROR) is not None


def amount(text: object) -> Value:
    """A quantity's value. Raises `ApiError` BadRequest with upstream's wording, as decoding it would have."""
    try:
        return quantity.parse(text if isinstance(text, str | int | float) else "")
    except ValueError as error:
        raise bad_request(str(error)) from None
