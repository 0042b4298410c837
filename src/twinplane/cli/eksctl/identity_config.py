"""The identities of pods that a ClusterConfig or flags ask for: `iam.serviceAccounts`, `iam.podIdentityAssociations`.

Read by `config`; `identity` makes them. Messages are eksctl's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Permissions:
    """Of a role that is made."""

    policy_arns: tuple[str, ...] = ()
    policy: dict[str, Any] = field(default_factory=dict)
    """An inline policy document; empty for none."""
    tags: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.policy_arns or self.policy)


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    namespace: str
    name: str
    permissions: Permissions = Permissions()
    attach_role_arn: str = ""
    """An existing role; otherwise one is made."""
    role_name: str = ""
    role_only: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Association:
    namespace: str
    service_account: str
    permissions: Permissions = Permissions()
    role_arn: str = ""
    role_name: str = ""
    create_service_account: bool = False


@dataclass(frozen=True, slots=True)
class Identities:
    service_accounts: tuple[ServiceAccount, ...] = ()
    associations: tuple[Association, ...] = ()


def from_iam(iam: dict[str, Any], source: str, problems: list[str]) -> Identities:
    """`iam` of a ClusterConfig."""
    accounts = tuple(_service_account(entry) for entry in iam.get("serviceAccounts") or ())
    associations = tuple(_association(entry) for entry in iam.get("podIdentityAssociations") or ())
    if accounts and not iam.get("withOIDC"):
        problems.append(f"{source}: iam.withOIDC must be enabled explicitly for iam.serviceAccounts to be created")
    for number, account in enumerate(accounts):
        problems += [f"{source}: iam.serviceAccounts[{number}]{problem}" for problem in problems_of_account(account)]
    for number, association in enumerate(associations):
        where = f"{source}: iam.podIdentityAssociations[{number}]"
        problems += [f"{where}{problem}" for problem in problems_of_association(association)]
    problems += _twice([f"{each.namespace}/{each.name}" for each in accounts], f"{source}: iam.serviceAccounts")
    names = [f"{each.namespace}/{each.service_account}" for each in associations]
    problems += _twice(names, f"{source}: iam.podIdentityAssociations")
    return Identities(accounts, associations)


def problems_of_account(account: ServiceAccount) -> list[str]:
    if not account.name:
        return [".metadata.name must be set"]
    if account.attach_role_arn and account.permissions:
        return [".attachRoleARN cannot be specified together with attachPolicyARNs or attachPolicy"]
    if account.attach_role_arn and account.role_name:
        return [".attachRoleARN cannot be specified together with roleName"]
    if not account.attach_role_arn and not account.permissions:
        return [".wellKnownPolicies or .attachPolicyARNs or .attachRoleARN or .attachPolicy must be set"]
    return []


def problems_of_association(association: Association) -> list[str]:
    if not association.namespace:
        return [".namespace must be set"]
    if not association.service_account:
        return [".serviceAccountName must be set"]
    if association.role_arn and (association.permissions or association.role_name):
        return [" cannot have roleARN together with what a new role would have"]
    if not association.role_arn and not association.permissions:
        return [" needs at least one of permissionPolicyARNs, permissionPolicy, or a roleARN"]
    return []


def _twice(names: list[str], where: str) -> list[str]:
    return [f"{where}: {name} is given more than once" for name in sorted({n for n in names if names.count(n) > 1})]


def _service_account(entry: dict[str, Any]) -> ServiceAccount:
    metadata = entry.get("metadata") or {}
    return ServiceAccount(
        namespace=metadata.get("namespace") or "default",
        name=metadata.get("name") or "",
        permissions=_permissions(entry, "attachPolicyARNs", "attachPolicy"),
        attach_role_arn=entry.get("attachRoleARN") or "",
        role_name=entry.get("roleName") or "",
        role_only=bool(entry.get("roleOnly")),
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
    )


def _association(entry: dict[str, Any]) -> Association:
    return Association(
        namespace=entry.get("namespace") or "",
        service_account=entry.get("serviceAccountName") or "",
        permissions=_permissions(entry, "permissionPolicyARNs", "permissionPolicy"),
        role_arn=entry.get("roleARN") or "",
        role_name=entry.get("roleName") or "",
        create_service_account=bool(entry.get("createServiceAccount")),
    )


def _permissions(entry: dict[str, Any], arns: str, document: str) -> Permissions:
    return Permissions(tuple(entry.get(arns) or ()), entry.get(document) or {}, entry.get("tags") or {})
