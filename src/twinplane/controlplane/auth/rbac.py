"""The RBAC authorizer: bindings indexed by subject, roles resolved when first asked for, decisions remembered.

It reads the API server's own objects. Indexes are derived again only when a binding changes and decisions are
forgotten when any RBAC object changes, so the usual question is answered by one dictionary look-up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from twinplane.controlplane.admission.contract import ObjectReader
from twinplane.controlplane.auth.contract import Attributes, Decision, UserInfo
from twinplane.controlplane.auth.rules import PolicyRule, Rule, compiled
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES

_SERVICE_ACCOUNT = "system:serviceaccount:"
_REMEMBERED = 8192
DENIED = Decision(False)


class Binding(NamedTuple):
    kind: str
    name: str
    namespace: str
    role_kind: str
    role_name: str
    subject: str
    """As reasons print it, e.g. `Group "system:masters"`."""


Index = dict[tuple[str, str], list[Binding]]
"""(namespace, `u:NAME` or `g:GROUP`) -> bindings; cluster-wide ones under the empty namespace."""


class RbacAuthorizer:
    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader
        self._cluster: tuple[int, Index] = (-1, {})
        self._namespaced: tuple[int, Index] = (-1, {})
        self._roles: dict[tuple[str, str], tuple[Object, tuple[Rule, ...]]] = {}
        self._decisions: dict[tuple[Any, ...], Decision] = {}
        self._decided_at: tuple[int, ...] = ()

    def authorize(self, attributes: Attributes) -> Decision:
        revision = self._reader.revision
        now = (revision(CLUSTER_ROLE_BINDINGS), revision(ROLE_BINDINGS), revision(CLUSTER_ROLES), revision(ROLES))
        if now != self._decided_at or len(self._decisions) > _REMEMBERED:
            self._decisions = {}
            self._decided_at = now
        if attributes.name:
            # What may be done whatever the name is decided once for all names.
            decision = self._remembered(attributes, "")
            if decision.allowed:
                return decision
        return self._remembered(attributes, attributes.name)

    def _remembered(self, attributes: Attributes, name: str) -> Decision:
        """As if `name` were the object's."""
        user, verb, group, _, resource, subresource, namespace, _, path, _ = attributes
        key = (user.name, user.groups, verb, group, resource, subresource, namespace, name, path)
        decision = self._decisions.get(key)
        if decision is None:
            decision = self._decisions[key] = self._decide(attributes._replace(name=name))
        return decision

    def rules_for(self, user: UserInfo, namespace: str) -> list[PolicyRule]:
        """Every rule that binds the user in the namespace, cluster-wide ones included (SelfSubjectRulesReview)."""
        rules: list[PolicyRule] = []
        for binding in self._bindings(user, namespace):
            role = self._role(binding)
            rules += role.get("rules") or () if role else ()
        return rules

    def role_rules(self, kind: str, name: str, namespace: str) -> list[PolicyRule] | None:
        """The rules a roleRef points to; None when there is no such role."""
        role = self._reader.get(*_place(kind, name, namespace))
        return None if role is None else list(role.get("rules") or ())

    def _decide(self, attributes: Attributes) -> Decision:
        missing = []
        for binding in self._bindings(attributes.user, attributes.namespace):
            role = self._role(binding)
            if role is None:
                missing.append(f'{binding.role_kind.lower()}.rbac.authorization.k8s.io "{binding.role_name}" not found')
            elif any(rule.allows(attributes) for rule in self._rules(binding, role)):
                return Decision(True, _reason(binding))
        return Decision(False, "RBAC: " + _joined(missing)) if missing else DENIED

    def _bindings(self, user: UserInfo, namespace: str) -> Iterator[Binding]:
        subjects = [f"u:{user.name}", *(f"g:{group}" for group in user.groups)]
        cluster = self._cluster_index()
        for subject in subjects:
            yield from cluster.get(("", subject), ())
        if namespace:
            namespaced = self._namespaced_index()
            for subject in subjects:
                yield from namespaced.get((namespace, subject), ())

    def _cluster_index(self) -> Index:
        self._cluster = self._derived(CLUSTER_ROLE_BINDINGS, self._cluster)
        return self._cluster[1]

    def _namespaced_index(self) -> Index:
        self._namespaced = self._derived(ROLE_BINDINGS, self._namespaced)
        return self._namespaced[1]

    def _derived(self, resource: Resource, known: tuple[int, Index]) -> tuple[int, Index]:
        revision = self._reader.revision(resource)
        if revision == known[0]:
            return known
        self._roles = {}
        index: Index = {}
        for binding in self._reader.list(resource):
            namespace = binding["metadata"].get("namespace", "")
            for subject in binding.get("subjects") or ():
                found = _subject(subject, namespace)
                if found is not None:
                    index.setdefault((namespace, found), []).append(_binding(resource.kind, binding, subject))
        return revision, index

    def _role(self, binding: Binding) -> Object | None:
        return self._reader.get(*_place(binding.role_kind, binding.role_name, binding.namespace))

    def _rules(self, binding: Binding, role: Object) -> tuple[Rule, ...]:
        key = (binding.namespace if binding.role_kind == "Role" else "", binding.role_name)
        known = self._roles.get(key)
        if known is None or known[0] is not role:
            known = self._roles[key] = (role, compiled(role.get("rules")))
        return known[1]


def _place(kind: str, name: str, namespace: str) -> tuple[Resource, str, str]:
    return (ROLES, name, namespace) if kind == "Role" else (CLUSTER_ROLES, name, "")


def _subject(subject: Object, namespace: str) -> str | None:
    name = subject.get("name", "")
    match subject.get("kind"):
        case "User":
            return f"u:{name}"
        case "Group":
            return f"g:{name}"
        case "ServiceAccount":
            return f"u:{_SERVICE_ACCOUNT}{subject.get('namespace') or namespace}:{name}"
    return None


def _binding(kind: str, binding: Object, subject: Object) -> Binding:
    reference = binding.get("roleRef") or {}
    metadata = binding["metadata"]
    who = f'{subject["kind"]} "{subject.get("name", "")}"'
    if subject["kind"] == "ServiceAccount":
        namespace = subject.get("namespace") or metadata.get("namespace", "")
        who = f'ServiceAccount "{subject.get("name", "")}/{namespace}"'
    return Binding(
        kind,
        metadata["name"],
        metadata.get("namespace", ""),
        reference.get("kind", ""),
        reference.get("name", ""),
        who,
    )


def _reason(binding: Binding) -> str:
    place = f"{binding.name}/{binding.namespace}" if binding.namespace else binding.name
    return (
        f'RBAC: allowed by {binding.kind} "{place}" of {binding.role_kind} "{binding.role_name}" to {binding.subject}'
    )


def _joined(errors: list[str]) -> str:
    """As upstream's aggregate error prints itself."""
    unique = list(dict.fromkeys(errors))
    return unique[0] if len(unique) == 1 else "[" + ", ".join(unique) + "]"
