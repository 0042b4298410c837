"""From a request to the evaluations that it asks for: which policies, through which bindings, with which parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic

from twinplane.controlplane.admission.contract import AdmissionRequest, ObjectReader
from twinplane.controlplane.admission.plugin import refuse
from twinplane.controlplane.admission.policies.definitions import B, Binding, Definitions, Policy
from twinplane.controlplane.admission.policies.params import NotConfigured, Parameters
from twinplane.controlplane.admission.policies.variables import Scope
from twinplane.controlplane.admission.webhooks.attributes import Attributes, Versions
from twinplane.controlplane.admission.webhooks.conditions import ConditionFailed
from twinplane.controlplane.admission.webhooks.dispatch import Webhooks
from twinplane.controlplane.admission.webhooks.expressions import activation
from twinplane.controlplane.admission.webhooks.matching import EquivalentResources, is_exempt
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import NAMESPACES

_CODES = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413}


@dataclass(frozen=True, slots=True)
class Invocation(Generic[B]):
    """One policy through one binding; `problem` says why it cannot be evaluated."""

    policy: Policy[B]
    binding: Binding
    attributes: Attributes
    params: tuple[Object | None, ...]
    problem: str = ""


class Invocations(Generic[B]):
    def __init__(self, parts: Webhooks, definitions: Definitions[B]) -> None:
        self._reader: ObjectReader = parts.reader
        self._definitions = definitions
        self._equivalents = EquivalentResources(parts.registry)
        self._parameters = Parameters(parts.reader, parts.registry, parts.rules)
        self.versions = Versions(parts.registry, parts.rules)

    def any(self) -> bool:
        return bool(self._definitions.current())

    def of(self, request: AdmissionRequest) -> Iterator[Invocation[B]]:
        """In order of names, made one by one, since an earlier policy may change what a later one sees."""
        if is_exempt(request.resource):
            return
        for policy, bindings in self._definitions.current():
            resource = policy.match.resource(request, self._reader, self._equivalents)
            if resource is None:
                continue
            for binding in bindings:
                match = binding.match
                if match is not None and match.resource(request, self._reader, self._equivalents) is not None:
                    yield self._invocation(policy, binding, request, resource)

    def _invocation(
        self, policy: Policy[B], binding: Binding, request: AdmissionRequest, resource: Resource
    ) -> Invocation[B]:
        attributes = self.versions.attributes(request, resource)
        problem = policy.error
        params: tuple[Object | None, ...] = ()
        if not problem:
            try:
                params = tuple(self._parameters.of(policy, binding, self.namespace(request)))
            except NotConfigured as error:
                problem = f"failed to configure binding: {error}"
        return Invocation(policy, binding, attributes, params, problem)

    def scope(self, invocation: Invocation[B], param: Object | None) -> Scope | None:
        """The variables to evaluate with, None when the policy's conditions do not hold.

        Raises `ConditionFailed`, and NotFound for a namespace that does not exist.
        """
        policy = invocation.policy
        assert policy.variables is not None, "it compiled"
        assert policy.conditions is not None, "it compiled"
        values: dict[str, Any] = activation(invocation.attributes)
        values["params"] = param
        namespace = self.namespace(invocation.attributes.request)
        values["namespaceObject"] = self._reader.get(NAMESPACES, namespace) if namespace else None
        if policy.conditions and not policy.conditions.hold(values):
            return None
        return policy.variables.scope(values)

    @staticmethod
    def namespace(request: AdmissionRequest) -> str:
        """Of the object; a namespace is in none."""
        return request.namespace if request.resource.namespaced else ""


def denied(request: AdmissionRequest, message: str, reason: str = "") -> ApiError:
    """As apiserver `policy/validating/dispatcher.go` words and codes it."""
    error = refuse(request, message)
    error.reason = reason or "Invalid"
    error.code = _CODES.get(error.reason, 422)
    error.details = {**(error.details or {}), "causes": [{"message": message}]}
    return error


__all__ = ["ConditionFailed", "Invocation", "Invocations", "denied"]
