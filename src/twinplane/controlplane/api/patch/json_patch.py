"""JSON Patch (RFC 6902), with the liberties that upstream's library takes and clients have come to rely on.

They are: negative array indexes count from the end, `replace` of a key that is not there adds it, and `test` for null
holds for a missing key. Called by the patch verb; pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError, bad_request
from twinplane.kubeclient.meta import copied

MAX_OPERATIONS = 10_000
MAX_COPIED_BYTES = 3 << 20
"""What all `copy` operations of a patch may add, as kube-apiserver's JSONPatchMaxCopyBytes."""
REJECTED = "the server rejected our request due to an error in our request"

Operation = dict[str, Any]
Container = dict[str, Any] | list[Any]
_INDEX = re.compile(r"[+-]?[0-9]{1,18}")
_GO_TYPES = {dict: "object", list: "array", str: "string", bool: "bool", int: "number", float: "number"}


class _DoesNotApply(Exception):
    """Upstream tells the client only that it does not; the text is for the developer who debugs."""


def apply(obj: Object, operations: Any) -> Any:
    """The patched copy of `obj`; of another JSON type than an object when the patch says so.

    Raises `ApiError`: BadRequest for what is no patch, RequestEntityTooLarge, Invalid when it does not apply.
    """
    _check_form(operations)
    try:
        return _Patching(copied(obj)).run(operations)
    except _DoesNotApply as error:
        raise ApiError("Invalid", REJECTED) from error


def _check_form(operations: Any) -> None:
    if operations is None:
        operations = []
    if not isinstance(operations, list):
        raise bad_request(f"json: cannot unmarshal {go_type(operations)} into Go value of type jsonpatch.Patch")
    for operation in operations:
        if not isinstance(operation, dict):
            raise bad_request(f"json: cannot unmarshal {go_type(operation)} into Go value of type jsonpatch.Operation")
    if len(operations) > MAX_OPERATIONS:
        message = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(operations)}"
        raise ApiError("RequestEntityTooLarge", message)


def go_type(value: Any) -> str:
    """What Go's decoder calls a JSON value in its messages."""
    return _GO_TYPES.get(type(value), "null")


def same_json(left: Any, right: Any) -> bool:
    """Equality of JSON values; unlike Python's, it keeps true, 1 and 1.0 apart."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same_json(value, right[key]) for key, value in left.items())
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same_json, left, right))
    return bool(left == right)


class _Patching:
    """One patch on one document, which is changed in place."""

    def __init__(self, document: Any) -> None:
        self._document = document
        self._copied_bytes = 0

    def run(self, operations: list[Operation] | None) -> Any:
        verbs: dict[Any, Callable[[Operation], None]] = {
            "add": self._add,
            "remove": self._remove,
            "replace": self._replace,
            "move": self._move,
            "copy": self._copy,
            "test": self._test,
        }
        for operation in operations or []:
            name = operation.get("op")
            verb = verbs.get(name) if isinstance(name, str) else None
            if verb is None:
                raise _DoesNotApply(f"unexpected kind: {name}")
            verb(operation)
        return self._document

    def _find(self, path: str) -> tuple[Container, str]:
        """The container of what `path` names, and the last step to it."""
        if not path.startswith("/"):
            raise _DoesNotApply(f"doc is missing path: {path!r}")
        *steps, last = (step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/"))
        at = self._document
        for step in steps:
            at = _get(at, step)
        if not isinstance(at, dict | list):
            raise _DoesNotApply(f"doc is missing path: {path!r}")
        return at, last

    def _put(self, path: str, value: Any) -> None:
        if not path:
            self._document = value
            return
        container, key = self._find(path)
        if isinstance(container, dict):
            container[key] = value
        elif key == "-":
            container.append(value)
        else:
            container.insert(_index(key, len(container) + 1), value)

    def _take(self, path: str) -> Any:
        container, key = self._find(path)
        value = _get(container, key)
        if isinstance(container, list):
            del container[_index(key, len(container))]
        elif key in container:
            del container[key]
        else:
            raise _DoesNotApply(f"unable to remove nonexistent key: {key}")
        return value

    def _add(self, operation: Operation) -> None:
        self._put(_path(operation, "path"), copied(operation.get("value")))

    def _remove(self, operation: Operation) -> None:
        self._take(_path(operation, "path"))

    def _replace(self, operation: Operation) -> None:
        path, value = _path(operation, "path"), copied(operation.get("value"))
        if not path:
            self._document = value
            return
        container, key = self._find(path)
        if isinstance(container, dict):
            container[key] = value
        else:
            container[_index(key, len(container))] = value

    def _move(self, operation: Operation) -> None:
        source, target = _path(operation, "from"), _path(operation, "path")
        self._put(target, self._take(source))

    def _copy(self, operation: Operation) -> None:
        source, target = _path(operation, "from"), _path(operation, "path")
        value = copied(_get(*self._find(source))) if source else copied(self._document)
        self._copied_bytes += len(json.dumps(value, separators=(",", ":"), ensure_ascii=False))
        if self._copied_bytes > MAX_COPIED_BYTES:
            raise _DoesNotApply(f"copies add more than {MAX_COPIED_BYTES} bytes")
        self._put(target, value)

    def _test(self, operation: Operation) -> None:
        path = _path(operation, "path")
        found = _get(*self._find(path)) if path else self._document
        if not same_json(found, operation.get("value")):
            raise _DoesNotApply(f"testing value {path} failed")


def _path(operation: Operation, name: str) -> str:
    path = operation.get(name)
    if not isinstance(path, str):
        raise _DoesNotApply(f"operation is missing {name}")
    return path


def _get(container: Any, key: str) -> Any:
    """None for a missing key of an object, as upstream has it."""
    if isinstance(container, dict):
        return container.get(key)
    if isinstance(container, list):
        return container[_index(key, len(container))]
    raise _DoesNotApply(f"no container at {key}")


def _index(key: str, size: int) -> int:
    if not _INDEX.fullmatch(key):
        raise _DoesNotApply(f"value was not a proper array index: {key!r}")
    index = int(key)
    if not -size <= index < size:
        raise _DoesNotApply(f"unable to access invalid index: {index}")
    return index % size
