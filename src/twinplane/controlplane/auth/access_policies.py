"""EKS access policies as an authorizer: what AmazonEKSViewPolicy and its like allow, cluster-wide or in namespaces.

A policy belongs to an access entry, not to a Kubernetes name, so the question is answered by the canonical ARN that
authentication left in the user's extra fields. (Impersonation cannot set it: header keys arrive in lower case.)
`authorization` asks after RBAC. The rules are those of EKS's documentation, which follow the user-facing ClusterRoles.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cached_property

from twinplane.controlplane.auth.access import AssociatedPolicy, PolicyGrants
from twinplane.controlplane.auth.contract import Attributes, Decision
from twinplane.controlplane.auth.policy import notation
from twinplane.controlplane.auth.policy.cluster_roles import CLUSTER_ROLES
from twinplane.controlplane.auth.rules import Rule, compiled

DENIED = Decision(False)
CANONICAL_ARN = "canonicalArn"
"""The extra field that authentication sets."""


class AccessPolicyAuthorizer:
    def __init__(self, grants: PolicyGrants) -> None:
        self._grants = grants

    def authorize(self, attributes: Attributes) -> Decision:
        arns = attributes.user.extra.get(CANONICAL_ARN)
        if not arns:
            return DENIED
        for policy in self._grants.of(arns[0]):
            if self._allows(policy, attributes):
                return Decision(True, f"EKS Access Policy: allowed by {policy.name} of {arns[0]}")
        return DENIED

    def _allows(self, policy: AssociatedPolicy, attributes: Attributes) -> bool:
        if policy.scope == "namespace" and not any(
            attributes.namespace and fnmatchcase(attributes.namespace, pattern) for pattern in policy.namespaces
        ):
            return False
        return any(rule.allows(attributes) for rule in self._rules.get(policy.name, ()))

    @cached_property
    def _rules(self) -> Mapping[str, tuple[Rule, ...]]:
        roles = notation.sections(CLUSTER_ROLES)
        view = notation.rules(roles["system:aggregate-to-view"])
        edit = view + notation.rules(roles["system:aggregate-to-edit"])
        admin = edit + notation.rules(roles["system:aggregate-to-admin"])
        return {
            "AmazonEKSClusterAdminPolicy": compiled(notation.rules(roles["cluster-admin"])),
            "AmazonEKSAdminPolicy": compiled(admin),
            "AmazonEKSAdminViewPolicy": compiled(notation.rules("read  *:*")),
            "AmazonEKSEditPolicy": compiled(edit),
            "AmazonEKSViewPolicy": compiled(view),
        }
