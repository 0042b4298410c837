"""IAM policies, pure: may this principal do that, with these facts about the request? Trust policies of roles first of
all; policies of identities (without principals) and of resources as well.

Source: "IAM JSON policy elements" (Principal, Action, Resource, Condition) of the IAM guide. An operator that is not
known here never holds, so a condition is not let through by not being understood.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any


@dataclass(frozen=True, slots=True)
class Asking:
    principal_type: str
    """AWS, Service or Federated."""
    principals: tuple[str, ...]
    """All that name the one who asks: an ARN, a service (`pods.eks.amazonaws.com`), an OIDC provider's ARN."""
    action: str
    context: Mapping[str, str | Sequence[str]]
    """Condition keys, in any case, and their values."""
    resource: str = ""
    """Its ARN; a trust policy has none."""


def allows(policy: Mapping[str, Any], asking: Asking) -> bool:
    """An explicit Deny wins over every Allow; without an Allow the answer is no."""
    return effects(policy, asking) == {"Allow"}


def effects(policy: Mapping[str, Any], asking: Asking, *, of_identity: bool = False) -> set[str]:
    """Allow, Deny, both or neither. `of_identity`: a policy of the one who asks, which names no principals."""
    statements = policy.get("Statement", [])
    return {
        str(statement.get("Effect"))
        for statement in (statements if isinstance(statements, list) else [statements])
        if (of_identity or _is_principal(statement, asking)) and _matches(statement, asking)
    }


def _matches(statement: Mapping[str, Any], asking: Asking) -> bool:
    return (
        _is_action(statement, asking.action)
        and _is_resource(statement, asking.resource)
        and _holds(statement.get("Condition", {}), asking.context)
    )


def _is_principal(statement: Mapping[str, Any], asking: Asking) -> bool:
    if "NotPrincipal" in statement:
        return not _names(statement["NotPrincipal"], asking)
    return "Principal" in statement and _names(statement["Principal"], asking)


def _names(principal: Any, asking: Asking) -> bool:
    if principal == "*":
        return True
    named = _list(principal.get(asking.principal_type, []))
    return any(name == "*" or name in asking.principals for name in named)


def _is_action(statement: Mapping[str, Any], action: str) -> bool:
    if "NotAction" in statement:
        return not any(like(action.lower(), each.lower()) for each in _list(statement["NotAction"]))
    return any(like(action.lower(), each.lower()) for each in _list(statement.get("Action", [])))


def _is_resource(statement: Mapping[str, Any], resource: str) -> bool:
    """Policies of resources may leave out which one."""
    if "NotResource" in statement:
        return not any(like(resource, each) for each in _list(statement["NotResource"]))
    return "Resource" not in statement or any(like(resource, each) for each in _list(statement["Resource"]))


# -- conditions ------------------------------------------------------------------------------------------------------


def _holds(conditions: Mapping[str, Any], context: Mapping[str, str | Sequence[str]]) -> bool:
    known = {key.lower(): _list(value) for key, value in context.items()}
    return all(
        _condition(operator, known.get(key.lower()), [str(each) for each in _list(wanted)])
        for operator, keys in conditions.items()
        for key, wanted in keys.items()
    )


def _condition(operator: str, values: list[str] | None, wanted: list[str]) -> bool:
    quantifier, _, bare = operator.rpartition(":")
    if bare == "Null":
        return (values is None) == (wanted[0].lower() == "true")
    optional = bare.endswith("IfExists")
    bare = bare.removesuffix("IfExists")
    negated = bare.startswith(("StringNot", "ArnNot", "NotIpAddress", "NumericNot", "DateNot"))
    if values is None:
        return optional or negated or quantifier == "ForAllValues"
    test = _OPERATORS.get(bare)
    if test is None:
        return False
    one = _one(test, wanted, negated)
    return (
        all(map(one, values)) if quantifier == "ForAllValues" or (negated and not quantifier) else any(map(one, values))
    )


def _one(test: Callable[[str, str], bool], wanted: list[str], negated: bool) -> Callable[[str], bool]:
    if negated:
        return lambda value: not any(test(value, each) for each in wanted)
    return lambda value: any(test(value, each) for each in wanted)


def like(value: str, pattern: str) -> bool:
    """`*` is any run of characters, `?` any one."""
    return _pattern(pattern).fullmatch(value) is not None


@lru_cache(maxsize=512)
def _pattern(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"([*?])", pattern)
    return re.compile("".join({"*": ".*", "?": "."}.get(part, re.escape(part)) for part in parts), re.DOTALL)


def _in_network(value: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(value) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _equal(value: str, wanted: str) -> bool:
    return value == wanted


def _equal_ignoring_case(value: str, wanted: str) -> bool:
    return value.lower() == wanted.lower()


_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": _equal,
    "StringNotEquals": _equal,
    "StringEqualsIgnoreCase": _equal_ignoring_case,
    "StringNotEqualsIgnoreCase": _equal_ignoring_case,
    "StringLike": like,
    "StringNotLike": like,
    "ArnEquals": like,
    "ArnLike": like,
    "ArnNotEquals": like,
    "ArnNotLike": like,
    "Bool": _equal_ignoring_case,
    "IpAddress": _in_network,
    "NotIpAddress": _in_network,
}


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
