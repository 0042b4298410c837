"""Access entries read from the EKS API of the region, as the control plane of a real cluster knows them.

`iam_mapping` asks on authentication. Found entries are kept a few seconds; unknown principals are asked for every time,
so that a new entry works at once. While the EKS API cannot be reached, whoever was known stays known: a cluster does
not lock its users out because its region restarts.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from twinplane.clock import Clock
from twinplane.controlplane.auth import arn
from twinplane.controlplane.auth.access import AccessEntry, AssociatedPolicy, AuthenticationMode

Call = Callable[[str, Mapping[str, Any]], Awaitable[dict[str, Any]]]
"""EKS operation and its parameters -> its answer, e.g. `call("ListAccessEntries", {"clusterName": "shop"})`."""

_LOG = logging.getLogger(__name__)
_KEEP_SECONDS = 3.0
_LIMIT = 1024


class EksAccessEntries:
    def __init__(self, cluster: str, call: Call, clock: Clock) -> None:
        self._cluster = cluster
        self._call = call
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, AccessEntry]] = OrderedDict()

    async def lookup(self, principal: str) -> AccessEntry | None:
        """Raises OSError (of `call`) when the EKS API cannot be asked and the principal was not known before."""
        now = self._clock.now()
        kept = self._kept.get(principal)
        if kept is not None and now < kept[0]:
            return kept[1]
        try:
            entry = await self._read(principal)
        except OSError:
            if kept is None:
                raise
            return kept[1]
        if entry is None:
            self._kept.pop(principal, None)
            return None
        self._kept[principal] = (now + _KEEP_SECONDS, entry)
        self._kept.move_to_end(principal)
        if len(self._kept) > _LIMIT:
            self._kept.popitem(last=False)
        return entry

    async def _read(self, principal: str) -> AccessEntry | None:
        listed = await self._pages("ListAccessEntries", "accessEntries", {})
        found = next((each for each in listed if principal in (each, arn.without_path(each))), None)
        if found is None:
            return None
        answer = await self._call("DescribeAccessEntry", {"clusterName": self._cluster, "principalArn": found})
        policies = await self._pages(
            "ListAssociatedAccessPolicies", "associatedAccessPolicies", {"principalArn": found}
        )
        return entry_of(answer["accessEntry"], policies)

    async def _pages(self, operation: str, key: str, parameters: Mapping[str, Any]) -> list[Any]:
        items: list[Any] = []
        token: dict[str, str] = {}
        while True:
            answer = await self._call(operation, {"clusterName": self._cluster, **parameters, **token})
            items += answer.get(key, ())
            if not answer.get("nextToken"):
                return items
            token = {"nextToken": answer["nextToken"]}


def entry_of(entry: Mapping[str, Any], policies: list[Any]) -> AccessEntry:
    """From the EKS API's shapes AccessEntry and AssociatedAccessPolicy."""
    return AccessEntry(
        principal_arn=entry["principalArn"],
        username=entry.get("username", ""),
        groups=tuple(entry.get("kubernetesGroups", ())),
        type=entry.get("type", "STANDARD"),
        policies=tuple(_policy_of(policy) for policy in policies),
    )


def _policy_of(policy: Mapping[str, Any]) -> AssociatedPolicy:
    scope = policy.get("accessScope", {})
    if scope.get("type") == "namespace":
        return AssociatedPolicy(policy["policyArn"], "namespace", tuple(scope.get("namespaces", ())))
    return AssociatedPolicy(policy["policyArn"])


class AuthenticationModeOf:
    """How the cluster's principals are mapped, from DescribeCluster; kept a few seconds, and while EKS is away."""

    def __init__(self, cluster: str, call: Call, clock: Clock) -> None:
        self._cluster = cluster
        self._call = call
        self._clock = clock
        self._known: AuthenticationMode = "API_AND_CONFIG_MAP"
        self._until = 0.0

    async def __call__(self) -> AuthenticationMode:
        now = self._clock.now()
        if now >= self._until:
            try:
                answer = await self._call("DescribeCluster", {"name": self._cluster})
            except OSError as error:
                _LOG.debug("the authentication mode stays as it was: %s", error)
            else:
                mode = answer["cluster"]["accessConfig"]["authenticationMode"]
                # With CONFIG_MAP nobody can make entries; those there are stand for the creator and the nodes.
                self._known = "API" if mode == "API" else "API_AND_CONFIG_MAP"
            self._until = now + _KEEP_SECONDS
        return self._known
