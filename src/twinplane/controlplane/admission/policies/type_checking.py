"""Expressions of a ValidatingAdmissionPolicy against the types it is for: what `status.typeChecking` warns of. Pure.

The CEL binding has no types with fields. So a chain of fields that begins at `object`, `oldObject` or `params` is
looked up in the type's schema here, and stands for the checker as one variable of the type that is found there; its
name is as long as the chain, which keeps the columns of messages. Upstream: `policy/validating/typechecking.go` of the
apiserver.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from twinplane.controlplane.admission.policies.variables import names_of
from twinplane.controlplane.admission.webhooks.expressions import Compiler
from twinplane.controlplane.api.extensions.customresources.cel_types import escaped
from twinplane.controlplane.api.types.registry import Registry
from twinplane.controlplane.api.types.schema import Schema
from twinplane.controlplane.cel import CelError
from twinplane.kubeclient.contract import Object

TYPES_MAX = 10
_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_SCALARS = {"integer": "int", "number": "double", "boolean": "bool", "string": "string"}
_FORMATS = {"byte": "bytes", "date-time": "timestamp"}
_CHAIN = re.compile(
    r"""(?P<text>[rR]?"(?:\\.|[^"\\])*"|[rR]?'(?:\\.|[^'\\])*')"""
    r"""|(?P<has>\bhas\s*\(\s*)?(?<![\w.])(?P<root>object|oldObject|params)(?P<path>(?:\.[A-Za-z_]\w*)+)(?P<call>\s*\()?"""
)


@dataclass(frozen=True, slots=True)
class Kind:
    group: str
    version: str
    kind: str
    schema: Schema

    def __str__(self) -> str:
        return f"{self.group}/{self.version}, Kind={self.kind}"


class TypeChecker:
    def __init__(self, registry: Registry, compiler: Compiler) -> None:
        self._registry = registry
        self._compiler = compiler

    def warnings(self, policy: Object) -> list[Object]:
        """ExpressionWarnings, one for each expression that does not fit every type."""
        spec = policy["spec"]
        kinds = list(self._kinds(spec))
        params = self._params(spec)
        found = []
        for index, each in enumerate(spec.get("validations") or ()):
            for field in ("expression", "messageExpression"):
                if not each.get(field):
                    continue
                problems = [
                    f"{kind}: compilation failed: {problem}\n"
                    for kind in kinds
                    if (problem := self._problem(each[field], spec, kind, params))
                ]
                if problems:
                    found.append({"fieldRef": f"spec.validations[{index}].{field}", "warning": "\n".join(problems)})
        return found

    def _kinds(self, spec: Mapping[str, Any]) -> Iterator[Kind]:
        """Those that the policy names without wildcards, in the order of group, version and kind."""
        found: dict[tuple[str, str, str], Kind] = {}
        for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
            groups, versions = rule.get("apiGroups") or (), rule.get("apiVersions") or ()
            if any("*" in text for text in (*groups, *versions)):
                continue
            plurals = [text for text in rule.get("resources") or () if "*" not in text and "/" not in text]
            for group in sorted(groups):
                for version in sorted(versions):
                    for plural in sorted(plurals):
                        served = self._registry.lookup(group, version, plural)
                        if served is not None and len(found) < TYPES_MAX:
                            kind = served.resource.kind
                            found[group, version, kind] = Kind(group, version, kind, served.schema)
        yield from (found[key] for key in sorted(found))

    def _params(self, spec: Mapping[str, Any]) -> Schema | None:
        kind = spec.get("paramKind") or {}
        group, _, version = str(kind.get("apiVersion") or "").rpartition("/")
        served = self._registry.by_kind(group, version, str(kind.get("kind") or ""))
        return None if served is None else served.schema

    def _problem(self, text: str, spec: Mapping[str, Any], kind: Kind, params: Schema | None) -> str:
        """What is wrong with an expression for one type, in cel-go's words; empty when nothing is."""
        roots = {"object": kind.schema, "oldObject": kind.schema, "params": params}
        types = names_of(spec)
        for each in spec.get("variables") or ():
            types[f"variables.{each['name']}"] = self._type_of(each["expression"], roots, types)
        try:
            self._compile(text, roots, types)
        except CelError as error:
            return str(error)
        return ""

    def _type_of(self, text: str, roots: Mapping[str, Schema | None], types: Mapping[str, str]) -> str:
        try:
            return self._compile(text, roots, types)
        except CelError:
            return "dyn"

    def _compile(self, text: str, roots: Mapping[str, Schema | None], types: Mapping[str, str]) -> str:
        """The type of the expression's value. Raises CelError."""
        stood_for: dict[str, tuple[str, str]] = {}
        parts, end = [], 0
        for match in _CHAIN.finditer(text):
            if match["root"] is None or roots[match["root"]] is None:
                continue
            names = match["path"][1:].split(".")
            if match["call"]:
                names.pop()
            start = match.start("root")
            found = self._walk(text, start + len(match["root"]), names, roots[match["root"]])
            if found is None or match["has"] or not names:
                continue
            length = len(match["root"]) + sum(len(name) + 1 for name in names)
            holder = f"t{len(stood_for)}".ljust(length, "_")
            stood_for[holder] = (text[start : start + length], found)
            parts += [text[end:start], holder]
            end = start + length
        try:
            types = {**types, **{holder: found for holder, (_, found) in stood_for.items()}}
            return self._compiler.compile("".join((*parts, text[end:])), types).result_type
        except CelError as error:
            message = str(error)
            for holder, (chain, _) in stood_for.items():
                message = message.replace(holder, chain)
            raise CelError(message) from None

    def _walk(self, text: str, at: int, names: list[str], schema: Schema | None) -> str | None:
        """The CEL type at the end of a chain; None where the schema says nothing. Raises CelError."""
        for depth, name in enumerate(names):
            if schema is None or schema.type != "object" or schema.preserves_unknown_fields:
                return None
            below = _field(schema, name)
            if below is None and depth == 0 and name == "metadata":
                below = self._registry.definition(_OBJECT_META)
            elif below is None and depth == 0 and name in ("apiVersion", "kind"):
                return "string"
            if below is None:
                if not schema.property_names:
                    return None
                raise CelError(_undefined(text, at, name))
            schema, at = below, at + len(name) + 1
        return None if schema is None else _type(schema)


def _field(schema: Schema, name: str) -> Schema | None:
    if name in schema.property_names or schema.additional is not None:
        return schema.property(name)
    return next((schema.property(key) for key in schema.property_names if escaped(key) == name), None)


def _type(schema: Schema) -> str:
    if schema.is_int_or_string or schema.is_quantity or schema.raw.get("nullable"):
        return "dyn"
    if schema.type == "array":
        return f"list({'dyn' if schema.items is None else _type(schema.items)})"
    if schema.type == "object":
        return f"map(string, {_type(schema.additional)})" if schema.additional is not None else "dyn"
    if schema.type == "string" and schema.format in _FORMATS:
        return _FORMATS[schema.format]
    return _SCALARS.get(schema.type, "dyn")


def _undefined(text: str, at: int, name: str) -> str:
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1)
    shown = text.splitlines()[line - 1]
    return f"ERROR: <input>:{line}:{column + 1}: undefined field '{name}'\n | {shown}\n | {'.' * column}^"
