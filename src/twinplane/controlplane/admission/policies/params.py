"""The parameter objects of a binding: by name or selector, in a namespace or the whole cluster.

The rules, and their words, are those of apiserver `pkg/admission/plugin/policy/generic` (CollectParams).
"""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.admission.contract import ObjectReader
from twinplane.controlplane.admission.policies.definitions import Binding, Policy
from twinplane.controlplane.api.types.contract import ResourceType, TypeRegistry, TypeRules
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import copied
from twinplane.kubeclient.selectors import SelectorError, selector_of


class NotConfigured(Exception):
    """A binding and its policy do not fit together, or what they name is not there."""


class Parameters:
    def __init__(self, reader: ObjectReader, registry: TypeRegistry, rules: TypeRules) -> None:
        self._reader = reader
        self._registry = registry
        self._rules = rules

    def of(self, policy: Policy[Any], binding: Binding, namespace: str) -> list[Object | None]:
        """One entry for each evaluation; None where there is no parameter. Raises `NotConfigured`."""
        reference = binding.param_ref
        if policy.param_kind is None or reference is None:
            return [None]
        group, version, kind = policy.param_kind
        served = self._registry.by_kind(group, version, kind)
        if served is None:
            shown = f"{group}/{version}" if group else version
            raise NotConfigured(f"paramKind kind `{shown}, Kind={kind}` not known")
        place = _namespace(served, reference.get("namespace") or "", namespace)
        found = self._found(served, reference, place)
        if not found and reference.get("parameterNotFoundAction") == "Deny":
            raise NotConfigured("no params found for policy binding with `Deny` parameterNotFoundAction")
        return [self._converted(served, each) for each in found]

    def _found(self, served: ResourceType, reference: Any, namespace: str) -> list[Object]:
        name, selector = reference.get("name"), reference.get("selector")
        if name and selector is not None:
            raise NotConfigured("paramRef.name and paramRef.selector are mutually exclusive")
        if name:
            one = self._reader.get(served.resource, name, namespace)
            return [] if one is None else [one]
        if selector is None:
            raise NotConfigured("one of name or selector must be provided")
        try:
            selected = selector_of(selector)
        except SelectorError as error:
            raise NotConfigured(str(error)) from None
        listed = self._reader.list(served.resource, namespace)
        return [each for each in listed if selected.matches(each["metadata"].get("labels"))]

    def _converted(self, served: ResourceType, body: Object) -> Object:
        if served.storage is None:
            return body
        return self._rules.convert(copied(body), served.storage, served.resource)


def _namespace(served: ResourceType, named: str, requested: str) -> str:
    if not served.resource.namespaced:
        if named:
            raise NotConfigured("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
        return ""
    if not named and not requested:
        raise NotConfigured("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
    return named or requested
