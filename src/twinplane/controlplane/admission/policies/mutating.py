"""MutatingAdmissionPolicy: changes in CEL, as an apply configuration that is merged in or as a JSON patch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twinplane.controlplane.admission.contract import AdmissionRequest
from twinplane.controlplane.admission.plugin import Plugin
from twinplane.controlplane.admission.policies.definitions import Definitions, resource
from twinplane.controlplane.admission.policies.invocation import ConditionFailed, Invocation, Invocations, denied
from twinplane.controlplane.admission.policies.variables import Expression, Scope, Variables
from twinplane.controlplane.admission.webhooks.attributes import Attributes
from twinplane.controlplane.admission.webhooks.dispatch import Webhooks
from twinplane.controlplane.admission.webhooks.mutating import Rounds
from twinplane.controlplane.api.patch import json_patch
from twinplane.controlplane.api.patch.merging import merge
from twinplane.controlplane.cel import CelError
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import copied

POLICIES = resource("mutatingadmissionpolicies", "MutatingAdmissionPolicy")
BINDINGS = resource("mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding")


@dataclass(frozen=True, slots=True)
class Mutation:
    patch_type: str
    patch: Expression


@dataclass(frozen=True, slots=True)
class Mutations:
    mutations: tuple[Mutation, ...]
    is_reinvocable: bool


class Misfit(Exception):
    """A mutation that cannot be made of the object."""


def compile_body(policy: Object, variables: Variables) -> Mutations:
    spec = policy["spec"]
    mutations = []
    for each in spec.get("mutations") or ():
        source = each.get("jsonPatch") or each.get("applyConfiguration") or {}
        patch = variables.compile(source.get("expression", ""))
        mutations.append(Mutation(each.get("patchType", ""), patch))
    return Mutations(tuple(mutations), spec.get("reinvocationPolicy") == "IfNeeded")


class MutatingAdmissionPolicy(Plugin):
    name = "MutatingAdmissionPolicy"
    waits_for = (POLICIES, BINDINGS)
    precedes_naming = True

    def __init__(self, parts: Webhooks) -> None:
        definitions = Definitions(parts.reader, parts.compiler, POLICIES, BINDINGS, compile_body)
        self._invocations: Invocations[Mutations] = Invocations(parts, definitions)

    def handles(self, request: AdmissionRequest) -> bool:
        return self._invocations.any()

    async def admit(self, request: AdmissionRequest) -> None:
        if request.object is None:
            return
        rounds = Rounds(self.name, request)
        rounds.begin()
        for invocation in self._invocations.of(request):
            policy, binding = invocation.policy, invocation.binding
            key = f"{policy.name}/{binding.name}"
            if rounds.skips(key):
                continue
            try:
                if self._run(invocation):
                    rounds.changed()
            except (CelError, ConditionFailed, Misfit) as error:
                if not policy.fails_open:
                    place = f"policy '{policy.name}' with binding '{binding.name}'"
                    raise denied(request, f"{place} denied request: {error}") from None
            if policy.body is not None:
                rounds.called(key, is_reinvocable=policy.body.is_reinvocable)
        rounds.end()

    def _run(self, invocation: Invocation[Mutations]) -> bool:
        """Whether the object is another now. Raises `Misfit`, CelError and `ConditionFailed`."""
        if invocation.problem:
            raise Misfit(invocation.problem)
        policy, attributes = invocation.policy, invocation.attributes
        assert policy.body is not None, "it compiled"
        changed = False
        for param in invocation.params:
            for mutation in policy.body.mutations:
                attributes = self._invocations.versions.attributes(attributes.request, attributes.resource)
                seen = Invocation(policy, invocation.binding, attributes, (param,))
                scope = self._invocations.scope(seen, param)
                if scope is not None:
                    changed |= self._mutate(mutation, scope, attributes)
        return changed

    def _mutate(self, mutation: Mutation, scope: Scope, attributes: Attributes) -> bool:
        value = scope.evaluate(mutation.patch)
        assert attributes.object is not None, "only what has an object is mutated"
        try:
            if mutation.patch_type == "JSONPatch":
                new = json_patch.apply(attributes.object, _operations(value))
                if not isinstance(new, dict):
                    raise Misfit("JSON patch does not leave an object")
            else:
                new = self._applied(attributes, value)
            return self._invocations.versions.put_back(attributes, new)
        except ApiError as error:
            raise Misfit(str(error.__cause__ or error.message)) from None

    def _applied(self, attributes: Attributes, value: Any) -> Object:
        before = attributes.object
        assert before is not None, "only what has an object is mutated"
        if not isinstance(value, dict):
            raise Misfit("must evaluate to Object")
        for field in ("apiVersion", "kind"):
            if value.get(field, before.get(field)) != before.get(field):
                raise Misfit(f"apply configuration may not change {field}")
        served = self._invocations.versions.type(attributes.resource)
        schema = served.schema if served is not None else None
        merged = merge(copied(before), copied(value), schema)
        assert isinstance(merged, dict)
        return merged


def _operations(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Misfit("must evaluate to list(JSONPatch)")
    return value
