"""The union authorizer: system:masters, then nodes, RBAC and EKS access policies; the first yes wins."""

from __future__ import annotations

from collections.abc import Sequence

from twinplane.controlplane.admission.contract import ObjectReader
from twinplane.controlplane.auth.access import PolicyGrants
from twinplane.controlplane.auth.access_policies import AccessPolicyAuthorizer
from twinplane.controlplane.auth.contract import MASTERS, Attributes, Authorizer, Decision
from twinplane.controlplane.auth.node import NodeAuthorizer
from twinplane.controlplane.auth.rbac import RbacAuthorizer

_MASTER = Decision(True, "group system:masters is always allowed")


class UnionAuthorizer:
    def __init__(self, authorizers: Sequence[Authorizer]) -> None:
        self._authorizers = tuple(authorizers)

    def authorize(self, attributes: Attributes) -> Decision:
        if MASTERS in attributes.user.groups:
            return _MASTER
        reasons = []
        for authorizer in self._authorizers:
            decision = authorizer.authorize(attributes)
            if decision.allowed:
                return decision
            if decision.reason:
                reasons.append(decision.reason)
        return Decision(False, "\n".join(reasons))


def default_authorizer(reader: ObjectReader, rbac: RbacAuthorizer, grants: PolicyGrants) -> UnionAuthorizer:
    """EKS's chain. `rbac` is shared with SelfSubjectRulesReview and the escalation check."""
    return UnionAuthorizer((NodeAuthorizer(reader), rbac, AccessPolicyAuthorizer(grants)))


def denial(attributes: Attributes, reason: str = "") -> str:
    """What a refused caller reads after `... is forbidden: `, worded as upstream's `responsewriters.Forbidden`."""
    a = attributes
    user = f'User "{a.user.name}" cannot {a.verb}'
    if a.path:
        text = f'{user} path "{a.path}"'
    else:
        resource = f"{a.resource}/{a.subresource}" if a.subresource else a.resource
        place = f'in the namespace "{a.namespace}"' if a.namespace else "at the cluster scope"
        text = f'{user} resource "{resource}" in API group "{a.group}" {place}'
    return f"{text}: {reason}" if reason else text
