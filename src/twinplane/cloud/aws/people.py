"""Keys that the IAM and STS APIs know, as identities. Reads moto's dictionaries; the administrator is put into them."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from twinplane.cloud.identity import ADMIN, Identity, unique_id

_PARTITION = "aws"


def ensure_administrator(administrator: Identity, account_id: str) -> None:
    """The region's administrator is an IAM user like any other, whose key was made before moto was awake."""
    iam = _iam(account_id)
    if ADMIN not in iam.users:
        user = iam.create_user(_PARTITION, ADMIN)
        user.id = administrator.user_id
        iam.attach_user_policy("arn:aws:iam::aws:policy/AdministratorAccess", ADMIN)
    user = iam.users[ADMIN]
    if not user.has_access_key(administrator.access_key_id):
        key = user.create_access_key(prefix="AKIA")
        key.access_key_id = administrator.access_key_id
        key.secret_access_key = administrator.secret_access_key
        iam.access_keys[key.access_key_id] = key


def find(access_key_id: str, account_id: str) -> Identity | None:
    key = _iam(account_id).access_keys.get(access_key_id)
    if key is None:
        return None
    if key.user_name:
        return _of_user(key, account_id)
    return _of_assumed_role(access_key_id, account_id)


def _of_user(key: Any, account_id: str) -> Identity | None:
    user = _iam(account_id).users.get(key.user_name)
    if user is None or key.status != "Active" or not user.has_access_key(key.access_key_id):
        return None
    return Identity(key.access_key_id, key.secret_access_key, user.arn, user.id, account_id)


def _of_assumed_role(access_key_id: str, account_id: str) -> Identity | None:
    from moto.sts.models import sts_backends

    role = sts_backends[account_id][_PARTITION].get_assumed_role_from_access_key(access_key_id)
    if role is None:
        return None
    # moto makes up another id each time for a role that does not exist.
    ids = (known.id for known in list(_iam(account_id).roles.values()) if known.arn == role.role_arn)
    user_id = f"{next(ids, unique_id('AROA', role.role_arn))}:{role.session_name}"
    return Identity(
        access_key_id=access_key_id,
        secret_access_key=role.secret_access_key,
        arn=role.arn,
        user_id=user_id,
        account_id=account_id,
        session_token=role.session_token,
        expiration=role.expiration.replace(tzinfo=UTC).timestamp(),
        role_arn=role.role_arn,
    )


def _iam(account_id: str) -> Any:
    from moto.iam.models import iam_backends

    return iam_backends[account_id][_PARTITION]
