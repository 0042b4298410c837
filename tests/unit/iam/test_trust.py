"""Trust policies as people write them for service accounts, pods and other roles."""

from __future__ import annotations

from typing import Any

import pytest

from twinplane.cloud.iam.trust import Asking, allows, effects, like

PROVIDER = "arn:aws:iam::123456789012:oidc-provider/oidc.eks.us-west-2.amazonaws.com/id/ABC"
HOST = "oidc.eks.us-west-2.amazonaws.com/id/ABC"
ACTION = "sts:AssumeRoleWithWebIdentity"
POD = Asking(
    "Federated",
    (PROVIDER,),
    ACTION,
    {f"{HOST}:sub": "system:serviceaccount:default:app", f"{HOST}:aud": "sts.amazonaws.com"},
)


def statement(**more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": {"Federated": PROVIDER}, "Action": ACTION, **more}


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


@pytest.mark.parametrize(
    "condition",
    [
        {},
        {"StringEquals": {f"{HOST}:sub": "system:serviceaccount:default:app"}},
        {"StringEquals": {f"{HOST}:SUB": ["x", "system:serviceaccount:default:app"]}},
        {"StringLike": {f"{HOST}:sub": "system:serviceaccount:default:*"}},
        {"StringNotEquals": {f"{HOST}:sub": "system:serviceaccount:default:other"}},
        {"StringEqualsIfExists": {"aws:PrincipalTag/x": "y"}},
        {"Null": {"aws:PrincipalTag/x": "true"}},
        {"ForAnyValue:StringEquals": {f"{HOST}:aud": ["sts.amazonaws.com", "other"]}},
        {"StringEquals": {f"{HOST}:aud": "sts.amazonaws.com"}, "StringLike": {f"{HOST}:sub": "system:*:app"}},
    ],
)
def test_allowed(condition: dict[str, Any]) -> None:
    assert allows(policy(statement(Condition=condition)), POD)


@pytest.mark.parametrize(
    "condition",
    [
        {"StringEquals": {f"{HOST}:sub": "system:serviceaccount:default:other"}},
        {"StringEquals": {f"{HOST}:sub": "system:serviceaccount:default:*"}},
        {"StringLike": {f"{HOST}:sub": "system:serviceaccount:prod:*"}},
        {"StringEquals": {"elsewhere:sub": "system:serviceaccount:default:app"}},
        {"StringEquals": {f"{HOST}:sub": "system:serviceaccount:default:app", f"{HOST}:aud": "other"}},
        {"StringMakesSense": {f"{HOST}:aud": "sts.amazonaws.com"}},
        {"Null": {f"{HOST}:sub": "true"}},
    ],
)
def test_not_allowed(condition: dict[str, Any]) -> None:
    assert not allows(policy(statement(Condition=condition)), POD)


def test_deny_wins_whatever_the_order() -> None:
    deny = statement(Effect="Deny", Condition={"StringLike": {f"{HOST}:sub": "*:app"}})
    assert not allows(policy(statement(), deny), POD)
    assert not allows(policy(deny, statement()), POD)


@pytest.mark.parametrize(
    "change",
    [
        {"Principal": {"Federated": PROVIDER + "D"}},
        {"Principal": {"AWS": "*"}},
        {"Principal": {"Service": "ec2.amazonaws.com"}},
        {"Action": "sts:AssumeRole"},
        {"NotPrincipal": {"Federated": PROVIDER}},
    ],
)
def test_another_principal_or_action(change: dict[str, Any]) -> None:
    changed = statement(**change)
    if "NotPrincipal" in change:
        del changed["Principal"]
    assert not allows(policy(changed), POD)


def test_wildcards_and_single_statements() -> None:
    assert allows({"Statement": statement(Action="sts:*", Principal="*")}, POD)
    assert allows(policy(statement(Action=["sts:TagSession", "STS:assumerolewithwebidentity"])), POD)
    assert like("a.b", "a?b")
    assert not like("axb", "a.b")


def test_addresses() -> None:
    asking = Asking("AWS", ("arn:aws:iam::123456789012:root",), "sts:AssumeRole", {"aws:SourceIp": "10.1.2.3"})
    trusted = statement(Principal={"AWS": "*"}, Action="sts:AssumeRole")
    assert allows(policy({**trusted, "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}), asking)
    assert not allows(policy({**trusted, "Condition": {"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}), asking)


def test_policies_of_identities_name_resources_and_no_principals() -> None:
    asking = Asking("AWS", ("me",), "ecr:BatchGetImage", {}, "arn:aws:ecr:r:1:repository/team/app")
    one = {"Effect": "Allow", "Action": "ecr:Batch*", "Resource": ["arn:aws:ecr:*:1:repository/team/*"]}
    assert effects(policy(one), asking, of_identity=True) == {"Allow"}
    assert effects(policy(one), asking) == set()
    others = {"Effect": "Deny", "Action": "*", "NotResource": "arn:aws:ecr:r:1:repository/team/*"}
    assert effects(policy(one, others), asking, of_identity=True) == {"Allow"}
    denied = {"Effect": "Deny", "Action": "*", "Resource": "*"}
    assert effects(policy(one, denied), asking, of_identity=True) == {"Allow", "Deny"}
