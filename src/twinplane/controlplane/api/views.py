"""How stored objects are shown: as they are, in another served version, as metadata only, or as a Table.

`negotiate` reads the Accept header as upstream does; get, list and watch render through the `View` it returns. A view
is a value: watches with equal views share every rendered event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import orjson

from twinplane.clock import Clock
from twinplane.controlplane.api.types.contract import ResourceType, TypeRules
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError

Shape = Literal["object", "metadata", "table"]

_SHAPES: dict[tuple[str, str], Shape] = {
    ("Table", "meta.k8s.io"): "table",
    ("PartialObjectMetadata", "meta.k8s.io"): "metadata",
    ("PartialObjectMetadataList", "meta.k8s.io"): "metadata",
}
_JSON = frozenset({"application/json", "*/*", "application/*"})
_PROTOBUF = "application/vnd.kubernetes.protobuf"
_ACCEPTED = ("application/json", "application/yaml", _PROTOBUF)
_SERVED_META_VERSIONS = frozenset({"v1", "v1beta1"})
INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}
INCLUDE_OBJECT = ("None", "Metadata", "Object")


@dataclass(frozen=True, slots=True)
class Accepted:
    """`yaml` counts for single answers only; streams and lists in JSON are what clients of YAML get from kubectl."""

    shape: Shape = "object"
    meta_version: str = "v1"
    yaml: bool = False


@lru_cache(maxsize=512)
def negotiate(accept: str, *, tables: bool = True, protobuf: bool = True) -> Accepted:
    """The first clause that can be served. Raises NotAcceptable as upstream does when there is none.

    `tables` is False for kinds that nothing lists, which have no form as a Table; `protobuf` for those that have no
    messages. Where JSON will do it is taken: protobuf is encoded from it (`protobuf.answers`).
    """
    if not accept or accept == "application/json":
        return Accepted()
    encoded = None
    for clause in accept.split(","):
        media, *parameters = (part.strip() for part in clause.split(";"))
        values = dict(parameter.partition("=")[::2] for parameter in parameters)
        is_yaml = media == "application/yaml"
        if media == _PROTOBUF:
            encoded = encoded or _in_protobuf(values, plain=protobuf)
        if media not in _JSON and not is_yaml:
            continue
        if "as" not in values:
            return Accepted(yaml=is_yaml)
        shape = _SHAPES.get((values["as"], values.get("g", "")))
        version = values.get("v", "")
        if shape is not None and version in _SERVED_META_VERSIONS and (tables or shape != "table"):
            return Accepted(shape, version, is_yaml)
    if encoded is not None:
        return encoded
    names = ", ".join(_ACCEPTED if protobuf else _ACCEPTED[:2])
    raise ApiError("NotAcceptable", f"only the following media types are accepted: {names}")


def _in_protobuf(values: dict[str, str], *, plain: bool) -> Accepted | None:
    """Tables have no message; metadata has one, of whatever it is."""
    if "as" not in values:
        return Accepted() if plain else None
    shape, version = _SHAPES.get((values["as"], values.get("g", ""))), values.get("v", "")
    return Accepted(shape, version) if shape == "metadata" and version in _SERVED_META_VERSIONS else None


@dataclass(frozen=True)
class View:
    """A `Representation` of `type` for watches, and the same for single objects and lists."""

    type: ResourceType
    accepted: Accepted
    include_object: str
    rules: TypeRules = field(compare=False)
    clock: Clock = field(compare=False)

    @property
    def key(self) -> object:
        resource = self.type.resource
        return resource.group, resource.version, self.accepted, self.include_object, self.shared, self.follows

    shared: bool = False
    follows: bool = False
    """See `Representation`."""

    @property
    def shows_stored_bytes(self) -> bool:
        return self.accepted.shape == "object" and not self.converts

    @property
    def converts(self) -> bool:
        """With a webhook also to the stored version: objects stay as an earlier definition had them stored."""
        return self.type.storage is not None or "converter" in self.type.extra

    def render(self, value: bytes) -> bytes:
        return value if self.shows_stored_bytes else orjson.dumps(self.show(value))

    def show(self, value: bytes) -> Object:
        body: Object = orjson.loads(value)
        if self.converts:
            body = self.converted(body)
        if self.accepted.shape == "metadata":
            return partial_metadata(body, self.accepted.meta_version)
        return self.table([body]) if self.accepted.shape == "table" else body

    def converted(self, body: Object) -> Object:
        return self.rules.convert(body, self.type.stored_as, self.type.resource)

    def table(self, bodies: Sequence[Object]) -> Object:
        from twinplane.controlplane.api.types.tables import render

        table: Object = render(self.type, bodies, self.clock.now(), self.include_object)
        table["apiVersion"] = f"meta.k8s.io/{self.accepted.meta_version}"
        return table

    def bookmark(self, revision: int, *, initial_events_end: bool = False) -> bytes:
        metadata: dict[str, Any] = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial_events_end:
            metadata["annotations"] = INITIAL_EVENTS_END
        resource = self.type.resource
        kind, version = resource.kind, resource.api_version
        if self.accepted.shape == "metadata":
            kind, version = "PartialObjectMetadata", f"meta.k8s.io/{self.accepted.meta_version}"
        body: Object = {"kind": kind, "apiVersion": version, "metadata": metadata}
        if self.accepted.shape == "table":
            body = self.table([body])
            body["metadata"] = {"resourceVersion": str(revision)}
        return b'{"type":"BOOKMARK","object":%s}\n' % orjson.dumps(body)


def partial_metadata(body: Object, version: str) -> Object:
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": body["metadata"],
    }
