"""RBAC escalation: nobody grants, by role or by binding, what they do not hold themselves.

Upstream checks in the RBAC registries, with these messages; the verbs `escalate` (roles) and `bind` (bindings) and the
group system:masters are the ways around.
"""

from __future__ import annotations

from twinplane.controlplane.admission.contract import AdmissionRequest
from twinplane.controlplane.admission.plugin import Plugin, body_of, entries, part, refuse
from twinplane.controlplane.auth.contract import MASTERS, Attributes, Authorizer
from twinplane.controlplane.auth.rbac import RbacAuthorizer
from twinplane.controlplane.auth.rules import PolicyRule, compact, covers, described, go_strings
from twinplane.kubeclient.errors import not_found
from twinplane.kubeclient.resources import CLUSTER_ROLES, ROLES

_ROLES = frozenset(("roles", "clusterroles"))
_BINDINGS = frozenset(("rolebindings", "clusterrolebindings"))


class RbacEscalation(Plugin):
    name = "RbacEscalation"
    by_type = True

    def __init__(self, rbac: RbacAuthorizer, authorizer: Authorizer) -> None:
        self._rbac = rbac
        self._authorizer = authorizer

    def handles(self, request: AdmissionRequest) -> bool:
        return (
            request.resource.group == ROLES.group
            and request.operation in ("CREATE", "UPDATE")
            and not request.subresource
        )

    async def validate(self, request: AdmissionRequest) -> None:
        if MASTERS in request.user.groups:
            return
        if request.resource.plural in _ROLES:
            self._check_role(request)
        elif request.resource.plural in _BINDINGS:
            self._check_binding(request)

    def _check_role(self, request: AdmissionRequest) -> None:
        body, old = body_of(request), request.old or {}
        if request.old is not None and all(body.get(key) == old.get(key) for key in ("rules", "aggregationRule")):
            return
        if self._may(request, "escalate", request.resource.plural, request.name):
            return
        if body.get("aggregationRule"):
            self._check_held(request, [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])
        self._check_held(request, entries(body, "rules"))

    def _check_binding(self, request: AdmissionRequest) -> None:
        body, old = body_of(request), request.old or {}
        if request.old is not None and all(body.get(key) == old.get(key) for key in ("subjects", "roleRef")):
            return
        reference = part(body, "roleRef")
        kind, name = str(reference.get("kind", "")), str(reference.get("name", ""))
        plural = ROLES.plural if kind == "Role" else CLUSTER_ROLES.plural
        if self._may(request, "bind", plural, name):
            return
        rules = self._rbac.role_rules(kind, name, request.namespace)
        if rules is None:
            raise not_found(ROLES.group, plural, name)
        self._check_held(request, rules)

    def _may(self, request: AdmissionRequest, verb: str, plural: str, name: str) -> bool:
        asked = Attributes(request.user, verb, ROLES.group, "v1", plural, namespace=request.namespace, name=name)
        return self._authorizer.authorize(asked).allowed

    def _check_held(self, request: AdmissionRequest, wanted: list[PolicyRule]) -> None:
        user = request.user
        missing = covers(self._rbac.rules_for(user, request.namespace), wanted)
        if missing:
            shown = "\n".join(sorted({described(rule) for rule in compact(missing)}))
            who = f'user "{user.name}" (groups={go_strings(user.groups)})'
            raise refuse(request, f"{who} is attempting to grant RBAC permissions not currently held:\n{shown}")
