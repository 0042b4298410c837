"""The STS actions that depend on who asks: answered here, because moto does not know our keys.

GetCallerIdentity is also what an EKS token is: a presigned URL of it, which the API server calls to learn whose token
it holds (with `Accept: application/json`). The other two make sessions of the caller's own identity.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape

from twinplane.clock import Clock
from twinplane.cloud.contract import AwsCredentials
from twinplane.cloud.endpoint.errors import write
from twinplane.cloud.iam.web_identity import StsError, WebIdentity, result
from twinplane.cloud.identity import Identity, ServiceSessions
from twinplane.cloud.requests import AwsRequest, AwsResponse, operation_of

_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
_SESSION_SECONDS = 43_200
_SESSION_SECONDS_MIN, _SESSION_SECONDS_MAX = 900, 129_600


@dataclass(frozen=True, slots=True)
class SecurityTokenService:
    sessions: ServiceSessions
    clock: Clock

    def answer(self, request: AwsRequest, identity: Identity) -> AwsResponse | None:
        """None for an action that is not answered here."""
        operation = operation_of(request)
        parameters = {name: values[-1] for name, values in operation.parameters.items()}
        actions: dict[str, Callable[[Identity, dict[str, str]], dict[str, Any]]] = {
            "GetCallerIdentity": self._caller_identity,
            "GetSessionToken": self._session_token,
            "GetFederationToken": self._federation_token,
        }
        act = actions.get(operation.action)
        if act is None:
            return None
        try:
            answered = act(identity, parameters)
        except ValueError as error:
            return write("query", "ValidationError", str(error), 400)
        return _response(operation.action, answered, "json" in request.header("accept"))

    async def assume_with_web_identity(self, request: AwsRequest, web_identity: WebIdentity) -> AwsResponse:
        operation = operation_of(request)
        try:
            assumed = await web_identity.assume({name: values[-1] for name, values in operation.parameters.items()})
        except StsError as error:
            return write("query", error.code, str(error), error.status)
        return _response(operation.action, result(assumed), "json" in request.header("accept"))

    def _caller_identity(self, identity: Identity, _: dict[str, str]) -> dict[str, Any]:
        return {"Account": identity.account_id, "Arn": identity.arn, "UserId": identity.user_id}

    def _session_token(self, identity: Identity, parameters: dict[str, str]) -> dict[str, Any]:
        expiration = self._expiration(parameters)
        issued = self.sessions.issue(identity.arn, user_id=identity.user_id, expiration=expiration)
        return {"Credentials": _credentials(issued, expiration)}

    def _federation_token(self, identity: Identity, parameters: dict[str, str]) -> dict[str, Any]:
        name = parameters.get("Name", "")
        if not 2 <= len(name) <= 32:
            raise ValueError(
                f"1 validation error detected: Value '{name}' at 'name' failed to satisfy constraint: "
                f"Member must have length between 2 and 32"
            )
        expiration = self._expiration(parameters)
        arn = f"arn:aws:sts::{identity.account_id}:federated-user/{name}"
        user_id = f"{identity.account_id}:{name}"
        issued = self.sessions.issue(arn, user_id=user_id, expiration=expiration)
        return {
            "Credentials": _credentials(issued, expiration),
            "FederatedUser": {"Arn": arn, "FederatedUserId": user_id},
            "PackedPolicySize": 0,
        }

    def _expiration(self, parameters: dict[str, str]) -> float:
        text = parameters.get("DurationSeconds", str(_SESSION_SECONDS))
        seconds = int(text) if text.isdigit() else 0
        if not _SESSION_SECONDS_MIN <= seconds <= _SESSION_SECONDS_MAX:
            raise ValueError(
                f"1 validation error detected: Value '{text}' at 'durationSeconds' failed to satisfy constraint: "
                f"Member must have value between {_SESSION_SECONDS_MIN} and {_SESSION_SECONDS_MAX}"
            )
        return float(int(self.clock.now()) + seconds)


def _credentials(issued: AwsCredentials, expiration: float) -> dict[str, str]:
    return {
        "AccessKeyId": issued.access_key_id,
        "SecretAccessKey": issued.secret_access_key,
        "SessionToken": issued.session_token,
        "Expiration": datetime.fromtimestamp(expiration, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _response(action: str, result: dict[str, Any], as_json: bool) -> AwsResponse:
    request_id = str(uuid.uuid4())
    if as_json:
        content = {f"{action}Result": result, "ResponseMetadata": {"RequestId": request_id}}
        return AwsResponse.json({f"{action}Response": content})
    document = (
        f'<{action}Response xmlns="{_NAMESPACE}"><{action}Result>{_xml(result)}</{action}Result>'
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>"
    )
    return AwsResponse(200, (("Content-Type", "text/xml"), ("x-amzn-RequestId", request_id)), document.encode())


def _xml(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(f"<{name}>{_xml(item)}</{name}>" for name, item in value.items())
    return escape(str(value))
