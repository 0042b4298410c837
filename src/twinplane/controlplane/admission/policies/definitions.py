"""Policies and bindings compiled once per revision: what both kinds of policy have in common.

A policy that does not compile is kept with its error, since its failure policy decides what happens to the requests
that it would have been asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from twinplane.controlplane.admission.contract import ObjectReader
from twinplane.controlplane.admission.policies.variables import Variables, names_of
from twinplane.controlplane.admission.webhooks.conditions import MatchConditions
from twinplane.controlplane.admission.webhooks.expressions import Compiler
from twinplane.controlplane.admission.webhooks.matching import ADMISSION_GROUP, Match
from twinplane.controlplane.cel import CelError
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.selectors import SelectorError

B = TypeVar("B")
_EVERY_REQUEST = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}


def resource(plural: str, kind: str) -> Resource:
    return Resource(ADMISSION_GROUP, "v1", plural, kind, False)


@dataclass(frozen=True, slots=True)
class Binding:
    name: str
    policy: str
    match: Match | None
    """None for one whose selectors are no selectors: it matches nothing."""
    param_ref: Mapping[str, Any] | None
    actions: frozenset[str]


@dataclass(frozen=True, slots=True)
class Policy(Generic[B]):
    name: str
    match: Match
    param_kind: tuple[str, str, str] | None
    """(group, version, kind)."""
    fails_open: bool
    conditions: MatchConditions | None
    variables: Variables | None
    body: B | None
    """What the kind of policy compiles of its own: validations, or mutations."""
    error: str = ""


Compile = Callable[[Object, Variables], B]
"""(policy, its variables, which compile expressions) -> body. Raises CelError."""


class Definitions(Generic[B]):
    """`current` gives every policy with its bindings, both in the order of their names."""

    def __init__(
        self,
        reader: ObjectReader,
        compiler: Compiler,
        policies: Resource,
        bindings: Resource,
        compile_body: Compile[B],
    ) -> None:
        self._reader = reader
        self._compiler = compiler
        self._sources = (policies, bindings)
        self._compile_body = compile_body
        self._revisions = (-1, -1)
        self._policies: dict[str, tuple[Object, Policy[B]]] = {}
        self._current: tuple[tuple[Policy[B], tuple[Binding, ...]], ...] = ()

    def current(self) -> tuple[tuple[Policy[B], tuple[Binding, ...]], ...]:
        policies, bindings = self._sources
        revisions = (self._reader.revision(policies), self._reader.revision(bindings))
        if revisions != self._revisions:
            self._current = tuple(self._read())
            self._revisions = revisions
        return self._current

    def _read(self) -> list[tuple[Policy[B], tuple[Binding, ...]]]:
        policies, bindings = self._sources
        by_policy: dict[str, list[Binding]] = {}
        for each in sorted(self._reader.list(bindings), key=_name):
            by_policy.setdefault(each["spec"].get("policyName", ""), []).append(_binding(each))
        known, self._policies = self._policies, {}
        found = []
        for each in sorted(self._reader.list(policies), key=_name):
            name = _name(each)
            before = known.get(name)
            # Compiling is slow beside all else here, and most changes are to one policy of many.
            policy = before[1] if before is not None and before[0] is each else self._policy(each)
            self._policies[name] = (each, policy)
            if name in by_policy and policy is not None:
                found.append((policy, tuple(by_policy[name])))
        return found

    def _policy(self, policy: Object) -> Policy[B]:
        spec = policy["spec"]
        fails_open = spec.get("failurePolicy") == "Ignore"
        kind = spec.get("paramKind")
        constraints = spec.get("matchConstraints") or {}
        conditions = variables = body = None
        match, error = _NOTHING, ""
        try:
            match = Match.of(constraints, constraints.get("resourceRules") or ())
            variables = Variables(spec.get("variables") or (), self._compiler, names_of(spec))
            conditions = MatchConditions(
                spec.get("matchConditions") or (), self._compiler, fails_open=fails_open, more=names_of(spec)
            )
            body = self._compile_body(policy, variables)
        except (CelError, SelectorError) as problem:
            error = f"failed to configure policy: compilation error: compilation failed: {problem}"
        param_kind = None
        if kind:
            group, _, version = kind["apiVersion"].rpartition("/")
            param_kind = (group, version, kind["kind"])
        return Policy(_name(policy), match, param_kind, fails_open, conditions, variables, body, error)


_NOTHING = Match.of({}, ())


def _name(obj: Object) -> str:
    return str(obj["metadata"]["name"])


def _binding(binding: Object) -> Binding:
    spec = binding["spec"]
    resources = spec.get("matchResources") or {}
    try:
        match = Match.of(resources, resources.get("resourceRules") or (_EVERY_REQUEST,))
    except SelectorError:
        match = None
    actions = frozenset(spec.get("validationActions") or ())
    return Binding(_name(binding), spec.get("policyName", ""), match, spec.get("paramRef"), actions)
