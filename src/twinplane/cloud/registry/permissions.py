"""Who may do what in ECR: policies of the identity and of the repository, asked of the account (moto) for each request.

Within one account either of them may allow, and a Deny of either wins ("Policy evaluation logic" of the IAM guide).
The EKS add-ons' registries are other accounts', whose repositories let everybody pull: there the identity's decide.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from twinplane.cloud.iam.trust import Asking, effects

T = TypeVar("T")
PARTITION = "aws"
ANY = "*"


class Account(Protocol):
    def run(self, work: Callable[[], T], *, changes: str = "") -> Awaitable[T]: ...


class Permissions:
    def __init__(self, account: Account, account_id: str, region: str) -> None:
        self._account = account
        self._account_id = account_id
        self._region = region

    async def refusal(self, principal: str, action: str, repository: str = "", *, owner: str = "") -> str:
        """ECR's sentence, empty when it is allowed. `principal` is an ARN as STS names it, `owner` the account of the
        registry."""
        owner = owner or self._account_id
        resource = f"arn:aws:ecr:{self._region}:{owner}:repository/{repository}" if repository else ANY
        own = repository if owner == self._account_id else ""
        found = await self._account.run(lambda: self._effects(principal, action, resource, own))
        if found == {"Allow"}:
            return ""
        why = (
            "with an explicit deny"
            if "Deny" in found
            else f"because no identity-based policy allows the {action} action"
        )
        return f"User: {principal} is not authorized to perform: {action} on resource: {resource} {why}"

    # -- in moto's thread --------------------------------------------------------------------------------------------

    def _effects(self, principal: str, action: str, resource: str, repository: str) -> set[str]:
        asking = Asking("AWS", self._names(principal), action, {"aws:PrincipalArn": principal}, resource)
        found: set[str] = set()
        for policy in self._of_identity(principal):
            found |= effects(policy, asking, of_identity=True)
        for policy in self._of_repository(repository):
            found |= effects(policy, asking)
        return found

    def _names(self, principal: str) -> tuple[str, ...]:
        root = f"arn:aws:iam::{self._account_id}:root"
        names = (principal, self._account_id, root)
        kind, _, rest = principal.partition(":assumed-role/")
        return (*names, f"arn:aws:iam::{self._account_id}:role/{rest.partition('/')[0]}") if kind and rest else names

    def _of_identity(self, principal: str) -> Iterable[Mapping[str, Any]]:
        from moto.iam.models import iam_backends

        iam = iam_backends[self._account_id][PARTITION]
        kind, _, rest = principal.rpartition(":")[2].partition("/")
        holders: list[Any] = []
        if kind == "assumed-role":
            holders += [role for role in iam.roles.values() if role.name == rest.partition("/")[0]]
        elif kind == "user" and (user := iam.users.get(rest.rpartition("/")[2])) is not None:
            holders += [user, *(group for group in iam.groups.values() if user in group.users)]
        elif kind == "root":
            yield {"Statement": {"Effect": "Allow", "Action": ANY, "Resource": ANY}}
        for holder in holders:
            for attached in holder.managed_policies.values():
                yield from (_document(version.document) for version in attached.versions if version.is_default)
            yield from map(_document, holder.policies.values())

    def _of_repository(self, name: str) -> Iterable[Mapping[str, Any]]:
        from moto.ecr.models import ecr_backends

        found = ecr_backends[self._account_id][self._region].repositories.get(name) if name else None
        if found is not None and found.policy:
            yield _document(found.policy)


def _document(text: Any) -> Mapping[str, Any]:
    found = json.loads(text) if isinstance(text, str) else text
    return found if isinstance(found, dict) else {}
