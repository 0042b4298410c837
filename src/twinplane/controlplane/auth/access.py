"""What the cluster knows of IAM principals: access entries as records, and the lookup that delivers them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

AuthenticationMode = Literal["API", "API_AND_CONFIG_MAP", "CONFIG_MAP"]


@dataclass(frozen=True, slots=True)
class AssociatedPolicy:
    """An access policy given to an entry. `namespaces` is empty for scope `cluster`; entries may end in `*`."""

    policy_arn: str
    scope: Literal["cluster", "namespace"] = "cluster"
    namespaces: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """`AmazonEKSViewPolicy` of `arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy`."""
        return self.policy_arn.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class AccessEntry:
    """`username` may hold the templates of `iam_mapping`; `type` is STANDARD, EC2_LINUX, EC2_WINDOWS, ..."""

    principal_arn: str
    username: str
    groups: tuple[str, ...] = ()
    type: str = "STANDARD"
    policies: tuple[AssociatedPolicy, ...] = ()


class AccessEntries(Protocol):
    async def lookup(self, arn: str) -> AccessEntry | None:
        """The entry of a canonical ARN (a role's without its path)."""
        ...


class PolicyGrants:
    """Access policies by canonical ARN: written when a principal authenticates, read by the authorizer.

    Bounded; a principal that was dropped is back with its next request, since authentication comes first.
    """

    def __init__(self, limit: int = 1024) -> None:
        self._limit = limit
        self._by_arn: dict[str, tuple[AssociatedPolicy, ...]] = {}

    def put(self, arn: str, policies: tuple[AssociatedPolicy, ...]) -> None:
        self._by_arn.pop(arn, None)
        if policies:
            self._by_arn[arn] = policies
        while len(self._by_arn) > self._limit:
            del self._by_arn[next(iter(self._by_arn))]

    def of(self, arn: str) -> tuple[AssociatedPolicy, ...]:
        return self._by_arn.get(arn, ())
