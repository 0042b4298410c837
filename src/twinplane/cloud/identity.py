"""Who owns an access key: the people of the account, their roles, and the services of the region itself.

Three kinds of keys are looked up in this order:
- the region's administrator: a key made on first start and kept in `credentials.json`, known before moto is awake;
- sessions that this region issued (`ServiceSessions`): the secret is derived from the token by HMAC, so a session
  needs no storage, survives restarts and cannot be forged;
- keys of IAM users and of roles assumed through STS, which live in moto (`KeyDirectory`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from twinplane.cloud.contract import AwsCredentials

ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Identity:
    """An access key with its secret, and the principal that STS GetCallerIdentity names for it."""

    access_key_id: str
    secret_access_key: str
    arn: str
    user_id: str
    account_id: str
    session_token: str = ""
    expiration: float | None = None
    """Seconds since the epoch; None for keys that do not expire."""
    role_arn: str = ""
    """Of the role behind an assumed-role session, when known."""
    internal: bool = False
    """True for the credentials of the region's own processes, which may call `/_twinplane/`."""


class KeyDirectory(Protocol):
    """Keys that the IAM and STS APIs made."""

    async def find(self, access_key_id: str) -> Identity | None: ...


class ServiceSessions:
    """Credentials that carry their own identity: `token = base64(claims)`, `secret = HMAC(region secret, token)`."""

    def __init__(self, region_secret: bytes, account_id: str) -> None:
        self._region_secret = region_secret
        self._account_id = account_id

    def issue(
        self, arn: str, *, user_id: str, expiration: float | None = None, internal: bool = False
    ) -> AwsCredentials:
        claims = json.dumps(
            {"arn": arn, "user": user_id, "exp": expiration, "int": internal}, sort_keys=True, separators=(",", ":")
        )
        token = base64.urlsafe_b64encode(claims.encode()).decode()
        return AwsCredentials(self._access_key_id(token), self._secret(token), token)

    def find(self, access_key_id: str, token: str) -> Identity | None:
        """The identity of a token that this region issued for that key; None when it is not one of ours."""
        if not token or not hmac.compare_digest(self._access_key_id(token), access_key_id):
            return None
        claims = json.loads(base64.urlsafe_b64decode(token))
        return Identity(
            access_key_id=access_key_id,
            secret_access_key=self._secret(token),
            arn=claims["arn"],
            user_id=claims["user"],
            account_id=self._account_id,
            session_token=token,
            expiration=claims["exp"],
            internal=claims["int"],
        )

    def _access_key_id(self, token: str) -> str:
        digest = hmac.digest(self._region_secret, b"id:" + token.encode(), "sha256")
        return "ASIA" + base64.b32encode(digest).decode()[:16]

    def _secret(self, token: str) -> str:
        digest = hmac.digest(self._region_secret, b"secret:" + token.encode(), "sha256")
        return base64.b64encode(digest).decode()[:40]


def assumed_role_arn(account_id: str, role_name: str, session_name: str) -> str:
    return f"arn:aws:sts::{account_id}:assumed-role/{role_name}/{session_name}"


def unique_id(prefix: str, of: str) -> str:
    """An IAM unique id (AIDA..., AROA...) that is the same for the same principal."""
    return prefix + base64.b32encode(hashlib.sha256(of.encode()).digest()).decode()[:17]


@dataclass(frozen=True, slots=True)
class RegionCredentials:
    """The administrator's key and the secret that service sessions are derived from."""

    administrator: Identity
    region_secret: bytes

    @staticmethod
    def load_or_create(path: Path, account_id: str) -> RegionCredentials:
        """Read `credentials.json`, or make it (mode 0600) on the first start."""
        try:
            record = json.loads(path.read_text())
        except FileNotFoundError:
            record = {
                "accessKeyId": "AKIA" + base64.b32encode(secrets.token_bytes(10)).decode(),
                "secretAccessKey": base64.b64encode(secrets.token_bytes(30)).decode(),
                "regionSecret": secrets.token_hex(32),
            }
            write_private(path, json.dumps(record, indent=2).encode())
        administrator = Identity(
            access_key_id=record["accessKeyId"],
            secret_access_key=record["secretAccessKey"],
            arn=f"arn:aws:iam::{account_id}:user/{ADMIN}",
            user_id=unique_id("AIDA", f"{account_id}/{ADMIN}"),
            account_id=account_id,
        )
        return RegionCredentials(administrator, bytes.fromhex(record["regionSecret"]))


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, atomically and durably."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
