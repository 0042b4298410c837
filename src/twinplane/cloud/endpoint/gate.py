"""Who may come in: every request's signature is checked here before anything else sees it."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, replace

from twinplane.clock import Clock
from twinplane.cloud.identity import Identity, KeyDirectory, RegionCredentials, ServiceSessions
from twinplane.cloud.requests import AwsRequest, operation_of
from twinplane.cloud.signature import (
    ALGORITHM,
    Refused,
    Signature,
    SignedRequest,
    check_date,
    check_signature,
    read_signature,
)

_PUBLIC_ACTIONS = {"AssumeRoleWithWebIdentity": "sts", "AssumeRoleWithSAML": "sts"}
_INVALID = "The security token included in the request is invalid."


@dataclass(frozen=True, slots=True)
class Admitted:
    request: AwsRequest
    """With `service` and `access_key_id` filled in."""
    identity: Identity | None
    """None for the few public actions."""
    region: str
    authorization: str
    """What the `Authorization` header says, or would say if the signature had not come in the query."""


class Gate:
    def __init__(
        self,
        credentials: RegionCredentials,
        sessions: ServiceSessions,
        directory: KeyDirectory,
        region: str,
        clock: Clock,
    ) -> None:
        self._administrator = credentials.administrator
        self._sessions = sessions
        self._directory = directory
        self._region = region
        self._clock = clock

    async def admit(self, request: AwsRequest) -> Admitted:
        """Raises `Refused`."""
        headers = {name.lower(): value for name, value in request.headers}
        signature = read_signature(headers, request.query)
        if signature is None:
            return self._admit_public(request)
        try:
            identity = await self._verify(request, signature)
        except Refused as refused:
            refused.service = signature.service
            raise
        known = replace(request, service=signature.service, access_key_id=signature.access_key_id)
        return Admitted(known, identity, signature.region, _authorization(signature))

    def bears_secret(self, request: AwsRequest) -> bool:
        """Whether the request carries the administrator's secret as a bearer token (internal API only)."""
        kind, _, token = request.header("authorization").partition(" ")
        secret = self._administrator.secret_access_key
        return kind == "Bearer" and hmac.compare_digest(token.encode(), secret.encode())

    async def _verify(self, request: AwsRequest, signature: Signature) -> Identity:
        identity = await self._identity(signature)
        check_date(signature, self._clock.now())
        signed = SignedRequest(request.method, request.path, request.query, request.headers, request.body)
        check_signature(signed, signature, identity.secret_access_key)
        if identity.expiration is not None and self._clock.now() > identity.expiration:
            raise Refused("ExpiredToken", "The security token included in the request is expired")
        return identity

    def _admit_public(self, request: AwsRequest) -> Admitted:
        service = _PUBLIC_ACTIONS.get(operation_of(request).action)
        if service is None:
            raise Refused("MissingAuthenticationToken", "Request is missing Authentication Token")
        return Admitted(replace(request, service=service), None, self._region, "")

    async def _identity(self, signature: Signature) -> Identity:
        if signature.access_key_id == self._administrator.access_key_id:
            identity: Identity | None = self._administrator
        else:
            identity = self._sessions.find(signature.access_key_id, signature.session_token)
            if identity is None:
                identity = await self._directory.find(signature.access_key_id)
        if identity is None or (identity.session_token and identity.session_token != signature.session_token):
            raise Refused("InvalidClientTokenId", _INVALID)
        return identity


def _authorization(signature: Signature) -> str:
    return (
        f"{ALGORITHM} Credential={signature.access_key_id}/{signature.scope}, "
        f"SignedHeaders={';'.join(signature.signed_headers)}, Signature={signature.value}"
    )
