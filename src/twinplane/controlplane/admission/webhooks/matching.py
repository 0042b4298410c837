"""Which requests a webhook or an admission policy is about: rules, namespace selector, object selector.

Compiled once per revision of the configuration and asked on every write; shared with `admission.policies`. Semantics
are those of apiserver `pkg/admission/plugin/webhook/predicates` and `.../webhook/rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from twinplane.controlplane.admission.contract import AdmissionRequest, ObjectReader
from twinplane.controlplane.api.types.contract import TypeRegistry
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import not_found
from twinplane.kubeclient.resources import NAMESPACES
from twinplane.kubeclient.selectors import EVERYTHING, LabelSelector, selector_of

ADMISSION_GROUP = "admissionregistration.k8s.io"
_EXEMPT = frozenset(
    {
        *("validatingwebhookconfigurations", "mutatingwebhookconfigurations"),
        *("validatingadmissionpolicies", "validatingadmissionpolicybindings"),
        *("mutatingadmissionpolicies", "mutatingadmissionpolicybindings"),
    }
)


def is_exempt(resource: Resource) -> bool:
    """Dynamic admission never guards its own configuration: a bad one could otherwise not be repaired."""
    return resource.group == ADMISSION_GROUP and resource.plural in _EXEMPT


@dataclass(frozen=True, slots=True)
class Rule:
    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: tuple[tuple[str, str], ...]
    """(resource, subresource) pairs; `*` in either matches all, an empty subresource only the resource itself."""
    scope: str
    names: frozenset[str]

    @classmethod
    def of(cls, rule: Mapping[str, Any]) -> Rule:
        return cls(
            frozenset(rule.get("operations") or ()),
            frozenset(rule.get("apiGroups") or ()),
            frozenset(rule.get("apiVersions") or ()),
            tuple((name, sub) for name, _, sub in (text.partition("/") for text in rule.get("resources") or ())),
            rule.get("scope") or "*",
            frozenset(rule.get("resourceNames") or ()),
        )

    def matches(self, request: AdmissionRequest, resource: Resource) -> bool:
        """Whether `resource`, the type of the request in one of its versions, is meant."""
        return (
            _among(request.operation, self.operations)
            and _among(resource.group, self.groups)
            and _among(resource.version, self.versions)
            and self._in_scope(request, resource)
            and (not self.names or request.name in self.names)
            and any(
                name in ("*", resource.plural) and sub in ("*", request.subresource) for name, sub in self.resources
            )
        )

    def _in_scope(self, request: AdmissionRequest, resource: Resource) -> bool:
        if self.scope == "*":
            return True
        is_namespaced = bool(request.namespace) and not _is_namespace(resource)
        return is_namespaced == (self.scope == "Namespaced")


def _among(value: str, allowed: frozenset[str]) -> bool:
    return "*" in allowed or value in allowed


def _is_namespace(resource: Resource) -> bool:
    return resource.plural == "namespaces" and not resource.group


Equivalents = Callable[[Resource], tuple[Resource, ...]]
"""The other versions (and groups) in which the objects of a resource are served."""


class EquivalentResources:
    """`Equivalents` over the table of types, derived again when that changes."""

    def __init__(self, registry: TypeRegistry) -> None:
        self._registry = registry
        self._generation = -1
        self._by_stored: dict[tuple[str, str], tuple[Resource, ...]] = {}

    def __call__(self, resource: Resource) -> tuple[Resource, ...]:
        if self._generation != self._registry.generation:
            self._generation = self._registry.generation
            grouped: dict[tuple[str, str], list[Resource]] = {}
            for each in self._registry.all():
                kept = each.stored_as
                grouped.setdefault((kept.group, kept.plural), []).append(each.resource)
            self._by_stored = {key: tuple(found) for key, found in grouped.items()}
        served = self._registry.lookup(resource.group, resource.version, resource.plural)
        if served is None:
            return ()
        stored = served.stored_as
        return tuple(found for found in self._by_stored.get((stored.group, stored.plural), ()) if found != resource)


@dataclass(frozen=True, slots=True)
class Match:
    """A webhook's rules and selectors, or a policy's matchConstraints."""

    rules: tuple[Rule, ...]
    excluded: tuple[Rule, ...]
    namespace_selector: LabelSelector
    object_selector: LabelSelector
    is_equivalent: bool

    @classmethod
    def of(cls, body: Mapping[str, Any], rules: Iterable[Mapping[str, Any]]) -> Match:
        """`body` has the selectors and matchPolicy. Raises `SelectorError`."""
        return cls(
            tuple(map(Rule.of, rules)),
            tuple(map(Rule.of, body.get("excludeResourceRules") or ())),
            _selector(body.get("namespaceSelector")),
            _selector(body.get("objectSelector")),
            (body.get("matchPolicy") or "Equivalent") == "Equivalent",
        )

    def resource(self, request: AdmissionRequest, reader: ObjectReader, equivalents: Equivalents) -> Resource | None:
        """The resource in the version that the rules name, None when the request is not meant.

        Raises NotFound when the namespace, whose labels decide, does not exist.
        """
        found = self._ruled(self.rules, request, equivalents)
        if found is None or (self.excluded and self._ruled(self.excluded, request, equivalents) is not None):
            return None
        if not self._selects_namespace(request, reader) or not self._selects_object(request):
            return None
        return found

    def _ruled(self, rules: tuple[Rule, ...], request: AdmissionRequest, equivalents: Equivalents) -> Resource | None:
        asked = request.requested or request.resource
        if any(rule.matches(request, asked) for rule in rules):
            return asked
        if self.is_equivalent:
            for other in equivalents(asked):
                if any(rule.matches(request, other) for rule in rules):
                    return other
        return None

    def _selects_namespace(self, request: AdmissionRequest, reader: ObjectReader) -> bool:
        if self.namespace_selector.selects_everything:
            return True
        is_namespace = _is_namespace(request.resource)
        if not request.namespace and not is_namespace:
            return True
        if is_namespace and not request.subresource and request.operation in ("CREATE", "UPDATE"):
            return self.namespace_selector.matches(_labels(request.object))
        namespace = reader.get(NAMESPACES, request.namespace)
        if namespace is None:
            raise not_found("", "namespaces", request.namespace)
        return self.namespace_selector.matches(_labels(namespace))

    def _selects_object(self, request: AdmissionRequest) -> bool:
        if self.object_selector.selects_everything:
            return True
        sides = (request.object, request.old)
        return any(self.object_selector.matches(_labels(side)) for side in sides if side is not None)


def _selector(selector: Mapping[str, Any] | None) -> LabelSelector:
    """Absent means everything here."""
    return EVERYTHING if selector is None else selector_of(selector)


def _labels(obj: Object | None) -> Mapping[str, str] | None:
    return ((obj or {}).get("metadata") or {}).get("labels")
