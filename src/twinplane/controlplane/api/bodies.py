"""Request bodies: bytes to a plain dictionary of the expected kind, refused in upstream's words.

JSON, YAML and (for built-in types) protobuf are understood.
What is inside the object is checked by the type's rules afterwards.
"""

from __future__ import annotations

from typing import Any

import orjson

from twinplane.controlplane.api.strictness import repeated_keys
from twinplane.controlplane.api.types.contract import ResourceType, TypeRegistry
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError, bad_request

MAX_BYTES = 3 * 1024 * 1024
"""Upstream's limit on a request body."""
PROTOBUF = "application/vnd.kubernetes.protobuf"
_READABLE_CUSTOM = ("application/json", "application/yaml")
"""Custom resources have no protobuf messages."""
_READABLE = (*_READABLE_CUSTOM, PROTOBUF)
_GO_KINDS = {list: "array", str: "string", int: "number", float: "number", bool: "bool", type(None): "null"}
_TYPE_META = 'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'


def unsupported_media_type(accepted: tuple[str, ...]) -> ApiError:
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
    return ApiError("UnsupportedMediaType", message)


def media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def too_large() -> ApiError:
    return ApiError("RequestEntityTooLarge", f"Request entity too large: limit is {MAX_BYTES}")


class Malformed(Exception):
    """Bytes that are no JSON or YAML; the message is Go's as nearly as it can be told."""


def parse(data: bytes, content_type: str, accepted: tuple[str, ...] = _READABLE) -> Any:
    """Any JSON value. Raises `Malformed`, and UnsupportedMediaType for every other format."""
    media = media_type(content_type) if content_type else accepted[0]
    if media not in accepted:
        raise unsupported_media_type(accepted)
    if media == PROTOBUF:
        return parse_protobuf(data)
    return parse_yaml(data) if media == "application/yaml" else parse_json(data)


def parse_protobuf(data: bytes) -> Object:
    from twinplane.controlplane.api.protobuf.decoding import decode as decode_protobuf

    try:
        return decode_protobuf(data)
    except ValueError as error:
        raise Malformed(str(error)) from None


def parse_json(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Malformed(_go_syntax_error(data, error)) from None


def parse_yaml(data: bytes) -> Any:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        value = yaml.load(data, Loader=loader)
        # Keys and scalars that JSON does not have (dates, numbers as keys) become what Go's converter makes of them.
        return orjson.loads(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS))
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, RecursionError) as error:
        first_line = str(error).splitlines()[0] if str(error) else "invalid document"
        raise Malformed(f"error converting YAML to JSON: yaml: {first_line}") from None


def _go_syntax_error(data: bytes, error: orjson.JSONDecodeError) -> str:
    text = data.decode(errors="replace").rstrip()
    if error.pos >= len(text):
        return "unexpected end of JSON input"
    return f"invalid character {_go_rune(text[error.pos])} looking for beginning of value"


def _go_rune(character: str) -> str:
    return "'\\''" if character == "'" else f"'{character}'" if character.isprintable() else repr(character)


def decode(
    data: bytes,
    content_type: str,
    type: ResourceType,
    registry: TypeRegistry,
    duplicates: list[str] | None = None,
) -> Object:
    """A body that is to be an object of `type`. Raises BadRequest and UnsupportedMediaType.

    What is said of keys that come twice is added to `duplicates`.
    """
    resource = type.resource
    accepted = _READABLE if type.schema.reference else _READABLE_CUSTOM
    expected = (resource.group, resource.version, resource.kind)
    return decode_kind(data, content_type, expected, registry, accepted=accepted, duplicates=duplicates)


def decode_kind(
    data: bytes,
    content_type: str,
    expected: tuple[str, str, str],
    registry: TypeRegistry | None = None,
    *,
    accepted: tuple[str, ...] = _READABLE,
    duplicates: list[str] | None = None,
) -> Object:
    """As `decode` for kinds that are not resources. A body that names no kind is taken to be of the expected one."""
    group, version, kind = expected
    try:
        body = parse(data, content_type, accepted)
        named = _named_kind(body)
    except Malformed as error:
        why = f"couldn't get version/kind; json parse error: {error}"
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind}): {why} ({_summary(data)})"
        ) from None
    if duplicates is not None:
        duplicates += repeated_keys(data, body, media_type(content_type))
    api_version = f"{group}/{version}" if group else version
    body["apiVersion"], body["kind"] = _checked(named, (api_version, kind), expected, registry)
    found: Object = body
    return found


def _named_kind(body: Any) -> tuple[str, str]:
    if not isinstance(body, dict):
        found = _GO_KINDS.get(body.__class__, "value")
        raise Malformed(f"json: cannot unmarshal {found} into Go value of type {_TYPE_META}")
    for field in ("apiVersion", "kind"):
        value = body.get(field)
        if value is not None and not isinstance(value, str):
            found = "object" if isinstance(value, dict) else _GO_KINDS[value.__class__]
            raise Malformed(f"json: cannot unmarshal {found} into Go struct field .{field} of type string")
    return body.get("apiVersion") or "", body.get("kind") or ""


def _checked(
    named: tuple[str, str],
    expected: tuple[str, str],
    group_version_kind: tuple[str, str, str],
    registry: TypeRegistry | None,
) -> tuple[str, str]:
    api_version, kind = named[0] or expected[0], named[1] or expected[1]
    if (api_version, kind) == expected:
        return expected
    group, _, version = api_version.rpartition("/")
    if kind == expected[1] == "DeleteOptions" and registry is not None and _is_known(registry, group, version):
        # Typed clients submit the options in the group version of what they delete.
        return expected
    if registry is None or registry.by_kind(group, version, kind) is None:
        why = (
            f'no kind "{kind}" is registered for version "{api_version}" in scheme "pkg/api/legacyscheme/scheme.go:30"'
        )
        raise bad_request(f'{kind} in version "{version}" cannot be handled as a {expected[1]}: {why}')
    if api_version != expected[0]:
        raise bad_request(
            f"the API version in the data ({api_version}) does not match the expected API version ({expected[0]})"
        )
    wanted = f"({group_version_kind[0] or 'core'}.{expected[1]})"
    why = f"converting ({version}.{kind}) to {wanted}: unknown conversion"
    raise bad_request(f'{kind} in version "{version}" cannot be handled as a {expected[1]}: {why}')


def _is_known(registry: TypeRegistry, group: str, version: str) -> bool:
    if (group, version) == ("meta.k8s.io", "v1"):
        return True
    return registry.schema(group, version, "DeleteOptions") is not None or version in registry.versions(group)


def _summary(data: bytes, length: int = 30) -> str:
    if not data:
        return "<empty>"
    shown = data[:length]
    text = shown.decode(errors="replace") if data[:1] == b"{" else shown.hex()
    return f"{text} ..." if len(data) > length else text
