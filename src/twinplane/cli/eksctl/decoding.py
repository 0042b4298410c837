"""A ClusterConfig file, read strictly: each field checked against the table in `fields`, each complaint with its line.

PyYAML's node tree keeps the lines that its objects lose, so the walk is over nodes.
"""

from __future__ import annotations

from typing import Any

import yaml

from twinplane.cli.eksctl.fields import BOOL, CLUSTER_CONFIG, DOCUMENT, INT, MAP, NOT_YET, STRING, STRINGS, Spec

API_VERSION = "eksctl.io/v1alpha5"

_SCALAR_TAGS = {
    BOOL: ("tag:yaml.org,2002:bool",),
    INT: ("tag:yaml.org,2002:int",),
    # An unquoted version such as 1.36 is a float to YAML and a string to eksctl's users.
    STRING: ("tag:yaml.org,2002:str", "tag:yaml.org,2002:float", "tag:yaml.org,2002:int"),
}


class BadClusterConfig(Exception):
    """All that is wrong with a file, one sentence a line."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def decode(text: str, source: str) -> dict[str, Any]:
    """The file as plain dictionaries. Raises `BadClusterConfig`; `source` is how messages name the file."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadClusterConfig([f"{source}:{line}: not valid YAML: {error.problem}"]) from error
    if not isinstance(root, yaml.MappingNode):
        raise BadClusterConfig([f"{source}:1: expected a ClusterConfig object"])
    walk = _Walk(source)
    decoded = walk.object(root, CLUSTER_CONFIG, "")
    walk.check_identity(decoded, root)
    if walk.problems:
        raise BadClusterConfig(walk.problems)
    return decoded


class _Walk:
    def __init__(self, source: str) -> None:
        self.source = source
        self.problems: list[str] = []

    def complain(self, node: yaml.Node, message: str) -> None:
        self.problems.append(f"{self.source}:{node.start_mark.line + 1}: {message}")

    def check_identity(self, decoded: dict[str, Any], root: yaml.Node) -> None:
        if decoded.get("apiVersion") != API_VERSION:
            self.complain(root, f"apiVersion must be {API_VERSION}, got {decoded.get('apiVersion')!r}")
        if decoded.get("kind") != "ClusterConfig":
            self.complain(root, f"kind must be ClusterConfig, got {decoded.get('kind')!r}")

    def object(self, node: yaml.MappingNode, spec: Spec, path: str) -> dict[str, Any]:
        decoded: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            field_path = f"{path}.{key}" if path else key
            field = spec.get(key, spec.get("*"))
            if field is None:
                self._refuse(key_node, field_path)
            elif key in decoded:
                self.complain(key_node, f'field "{field_path}" is given twice')
            else:
                decoded[key] = self.value(value_node, field, field_path)
        return decoded

    def _refuse(self, node: yaml.Node, path: str) -> None:
        if path in NOT_YET:
            self.complain(node, f'field "{path}" of eksctl is not supported yet')
        else:
            self.complain(node, f'unknown field "{path}"')

    def value(self, node: yaml.Node, field: Any, path: str) -> Any:
        if node.tag == "tag:yaml.org,2002:null":
            return None
        if isinstance(field, dict):
            return self._object_at(node, field, path)
        if isinstance(field, list):
            items = self._sequence(node, path)
            return [self._object_at(item, field[0], f"{path}[]") for item in items]
        if field == STRINGS:
            return [self.value(item, STRING, f"{path}[]") for item in self._sequence(node, path)]
        if field == DOCUMENT:
            return self._document(node, path)
        if field == MAP:
            return self._map(node, path)
        return self._scalar(node, field, path)

    def _object_at(self, node: yaml.Node, spec: Spec, path: str) -> dict[str, Any]:
        if isinstance(node, yaml.MappingNode):
            return self.object(node, spec, path)
        self.complain(node, f'field "{path}" must be an object')
        return {}

    def _sequence(self, node: yaml.Node, path: str) -> list[yaml.Node]:
        if isinstance(node, yaml.SequenceNode):
            return list(node.value)
        self.complain(node, f'field "{path}" must be a list')
        return []

    def _document(self, node: yaml.Node, path: str) -> dict[str, Any]:
        if not isinstance(node, yaml.MappingNode):
            self.complain(node, f'field "{path}" must be an object')
            return {}
        document: dict[str, Any] = yaml.safe_load(yaml.serialize(node))
        return document

    def _map(self, node: yaml.Node, path: str) -> dict[str, str]:
        if not isinstance(node, yaml.MappingNode):
            self.complain(node, f'field "{path}" must be a map of strings')
            return {}
        values = {}
        for key_node, value_node in node.value:
            if not isinstance(value_node, yaml.ScalarNode):
                self.complain(value_node, f'field "{path}.{key_node.value}" must be a string')
                continue
            values[str(key_node.value)] = "" if value_node.tag.endswith(":null") else str(value_node.value)
        return values

    def _scalar(self, node: yaml.Node, kind: str, path: str) -> Any:
        if not isinstance(node, yaml.ScalarNode) or node.tag not in _SCALAR_TAGS[kind]:
            self.complain(node, f'field "{path}" must be {"an" if kind[0] in "aeiou" else "a"} {kind}')
            return None
        if kind == STRING:
            return str(node.value)
        return yaml.safe_load(node.value)
