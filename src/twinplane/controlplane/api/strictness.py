"""Field validation of the bytes of a body: keys that come twice, which parsing alone drops without a word.

Strict refuses them, Warn (the default) warns, in the words of Kubernetes' JSON and YAML decoders. Called by `bodies`
and by patches; unknown fields are found by the types' rules.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import orjson

_PROTOBUF = "application/vnd.kubernetes.protobuf"
_OF_YAML = "error converting YAML to JSON: "
_UNMARSHAL = "yaml: unmarshal errors:\n"
_OPERATION = ("op", "path", "from", "value")


def repeated_keys(data: bytes, body: Any, media: str) -> list[str]:
    """What is said of the keys of `data` that come twice in their object; `body` is what it was parsed to.

    Nearly always there are none, and one glance tells: the body encoded again has as many keys as the data.
    """
    if media == "application/yaml":
        problem = duplicate_yaml_keys(data)
        return [problem.removeprefix(_OF_YAML)] if problem else []
    if media == _PROTOBUF or data.count(b'":') == orjson.dumps(body).count(b'":'):
        return []
    return duplicate_fields(data)


def warnings_of(problem: str) -> list[str]:
    """A problem as one warning, or as one a line where YAML's decoder tells several."""
    words = problem.removeprefix(_OF_YAML)
    if not words.startswith(_UNMARSHAL):
        return [problem]
    return [line.strip() for line in words.removeprefix(_UNMARSHAL).split("\n")]


def json_patch_problems(data: bytes, operations: Any) -> list[str]:
    """Keys of the operations that come twice, and those that operations have not."""
    unknown = [
        f'unknown field "[{index}].{key}"'
        for index, operation in enumerate(operations if isinstance(operations, list) else ())
        if isinstance(operation, dict)
        for key in operation
        if key not in _OPERATION
    ]
    duplicates = repeated_keys(data, operations, "")
    found = as_they_come(data, unknown, duplicates) if duplicates else unknown
    return [f"json patch {problem}" for problem in found]


def duplicate_fields(data: bytes) -> list[str]:
    """`duplicate field "spec.replicas"` for each key that occurs twice in its object, as strict decoding reports."""
    found: list[str] = []
    try:
        _Duplicates(found).walk(json.loads(data, object_pairs_hook=_Pairs), "")
    except (ValueError, RecursionError):
        return []
    return found


def as_they_come(data: bytes, unknown: Sequence[str], duplicates: Sequence[str]) -> list[str]:
    """Both kinds of problems in the order in which Go's decoder meets them; what is unknown is told of once."""
    told = frozenset((*unknown, *duplicates))
    met: list[str] = []

    def walk(value: Any, path: str) -> None:
        if isinstance(value, _Pairs):
            seen: set[str] = set()
            for key, entry in value:
                here = f"{path}.{key}" if path else key
                problem = f'unknown field "{here}"'
                if problem not in told and key in seen:
                    problem = f'duplicate field "{here}"'
                seen.add(key)
                if problem in told:
                    met.append(problem)
                walk(entry, here)
        elif isinstance(value, list):
            for index, entry in enumerate(value):
                walk(entry, f"{path}[{index}]")

    try:
        walk(json.loads(data, object_pairs_hook=_Pairs), "")
    except ValueError:
        # YAML, whose decoder tells the duplicates first.
        return [*duplicates, *unknown]
    return list(dict.fromkeys((*met, *unknown)))


def duplicate_yaml_keys(data: bytes) -> str:
    """What Go's strict YAML decoder says of keys that occur twice in their mapping; empty when there are none.

    JSON is YAML too, and is looked through faster.
    """
    if data[:1] == b"{" and not duplicate_fields(data):
        return ""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: list[str] = []
    try:
        waiting = [yaml.compose(data, Loader=loader)]
    except (yaml.YAMLError, RecursionError):
        return ""
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.SequenceNode):
            waiting += reversed(node.value)
        elif isinstance(node, yaml.MappingNode):
            keys = [(key.value, key.start_mark.line + 1) for key, _ in node.value]
            seen: set[Any] = set()
            for key, line in keys:
                if isinstance(key, str) and key in seen:
                    found.append(f'line {line}: key "{key}" already set in map')
                seen.add(key if isinstance(key, str) else id(key))
            waiting += [value for _, value in reversed(node.value)]
    return "\n  ".join([f"{_OF_YAML}{_UNMARSHAL.strip()}", *found]) if found else ""


class _Pairs(list[tuple[str, Any]]):
    """An object as its pairs in order, so that repeated keys survive."""


class _Duplicates:
    def __init__(self, found: list[str]) -> None:
        self._found = found

    def walk(self, value: Any, path: str) -> None:
        if isinstance(value, _Pairs):
            seen: set[str] = set()
            for key, entry in value:
                here = f"{path}.{key}" if path else key
                if key in seen:
                    self._found.append(f'duplicate field "{here}"')
                seen.add(key)
                self.walk(entry, here)
        elif isinstance(value, list):
            for index, entry in enumerate(value):
                self.walk(entry, f"{path}[{index}]")


def go_text(value: Any) -> str:
    """A value of JSON as Go's `%+v` prints it."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{go_text(inner)}' for key, inner in sorted(value.items()))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(go_text, value))}]"
    return "<nil>" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
