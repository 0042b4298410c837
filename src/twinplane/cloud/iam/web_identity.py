"""AssumeRoleWithWebIdentity for the service accounts of this region's clusters (IRSA): token, provider and trust are
checked.

The token must be signed by the cluster whose issuer it names, be meant for an audience of the account's OIDC
provider, and satisfy the role's trust policy (`ISSUER:sub`, `ISSUER:aud`). Errors are worded as STS words them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from twinplane.clock import Clock
from twinplane.cloud.contract import AwsClients
from twinplane.cloud.iam.service_account_token import IssuerKeys, TokenRefused, claims_of
from twinplane.cloud.iam.trust import Asking, allows
from twinplane.cloud.identity import ServiceSessions, assumed_role_arn

ACTION = "sts:AssumeRoleWithWebIdentity"
SECONDS = 3600
SECONDS_MIN = 900


class StsError(Exception):
    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


@dataclass(frozen=True, slots=True)
class Assumed:
    """What STS answers; `expiration` in seconds since the epoch."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expiration: float
    arn: str
    assumed_role_id: str
    subject: str
    audience: str
    provider: str


class WebIdentity:
    def __init__(
        self, clients: AwsClients, sessions: ServiceSessions, issuer_keys: IssuerKeys, account_id: str, clock: Clock
    ) -> None:
        self._clients = clients
        self._sessions = sessions
        self._issuer_keys = issuer_keys
        self._account_id = account_id
        self._clock = clock

    async def assume(self, parameters: dict[str, str]) -> Assumed:
        """Raises `StsError`."""
        for name in ("RoleArn", "RoleSessionName", "WebIdentityToken"):
            if not parameters.get(name):
                label = name[0].lower() + name[1:]
                raise StsError(
                    "ValidationError",
                    f"1 validation error detected: Value null at '{label}' failed to satisfy constraint: "
                    f"Member must not be null",
                )
        claims = self._claims(parameters["WebIdentityToken"])
        return await asyncio.to_thread(self._assume, parameters, claims)

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            return claims_of(token, self._issuer_keys, self._clock.now())
        except TokenRefused as refused:
            code = "ExpiredTokenException" if refused.reason == "expired" else "InvalidIdentityToken"
            raise StsError(code, str(refused)) from refused

    def _assume(self, parameters: dict[str, str], claims: dict[str, Any]) -> Assumed:
        issuer, subject = str(claims["iss"]), str(claims.get("sub", ""))
        host = issuer.removeprefix("https://")
        provider = f"arn:aws:iam::{self._account_id}:oidc-provider/{host}"
        audience = self._audience(provider, issuer, claims)
        role = self._role(parameters["RoleArn"])
        asking = Asking("Federated", (provider,), ACTION, {f"{host}:sub": subject, f"{host}:aud": audience})
        if role is None or not allows(role["AssumeRolePolicyDocument"], asking):
            raise StsError("AccessDenied", f"Not authorized to perform {ACTION}", 403)
        expiration = float(int(self._clock.now()) + _seconds(parameters, int(role.get("MaxSessionDuration", SECONDS))))
        session = parameters["RoleSessionName"]
        arn = assumed_role_arn(self._account_id, role["RoleName"], session)
        user_id = f"{role['RoleId']}:{session}"
        issued = self._sessions.issue(arn, user_id=user_id, expiration=expiration)
        return Assumed(
            issued.access_key_id,
            issued.secret_access_key,
            issued.session_token,
            expiration,
            arn,
            user_id,
            subject,
            audience,
            provider,
        )

    def _audience(self, provider: str, issuer: str, claims: dict[str, Any]) -> str:
        try:
            found = self._clients.client("iam").get_open_id_connect_provider(OpenIDConnectProviderArn=provider)
        except ClientError as error:
            raise StsError(
                "InvalidIdentityToken", f"No OpenIDConnect provider found in your account for {issuer}"
            ) from error
        given = claims.get("aud", [])
        for audience in [given] if isinstance(given, str) else given:
            if audience in found["ClientIDList"]:
                return str(audience)
        raise StsError("InvalidIdentityToken", "Incorrect token audience")

    def _role(self, arn: str) -> dict[str, Any] | None:
        try:
            role: dict[str, Any] = self._clients.client("iam").get_role(RoleName=arn.rsplit("/", 1)[-1])["Role"]
        except ClientError:
            return None
        return role if role["Arn"] == arn else None


def result(assumed: Assumed) -> dict[str, Any]:
    """As the element `AssumeRoleWithWebIdentityResult`."""
    return {
        "SubjectFromWebIdentityToken": assumed.subject,
        "Audience": assumed.audience,
        "AssumedRoleUser": {"Arn": assumed.arn, "AssumedRoleId": assumed.assumed_role_id},
        "Credentials": {
            "AccessKeyId": assumed.access_key_id,
            "SecretAccessKey": assumed.secret_access_key,
            "SessionToken": assumed.session_token,
            "Expiration": datetime.fromtimestamp(assumed.expiration, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        "Provider": assumed.provider,
    }


def _seconds(parameters: dict[str, str], most: int) -> int:
    text = parameters.get("DurationSeconds", str(SECONDS))
    if not text.isdigit() or int(text) < SECONDS_MIN:
        raise StsError(
            "ValidationError",
            f"1 validation error detected: Value '{text}' at 'durationSeconds' failed to satisfy constraint: "
            f"Member must have value greater than or equal to {SECONDS_MIN}",
        )
    if int(text) > most:
        raise StsError(
            "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        )
    return int(text)
