"""Refusals in the words and the wire form of the service that was asked.

The same refusal has another name in each protocol: an unknown key is InvalidClientTokenId to STS, AuthFailure to EC2,
UnrecognizedClientException to JSON services and InvalidAccessKeyId to S3. One table holds them.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from xml.sax.saxutils import escape

from twinplane.cloud.requests import AwsRequest, AwsResponse, operation_of
from twinplane.cloud.signature import Refused

_INVALID_TOKEN = "The security token included in the request is invalid."
_EXPIRED = "The security token included in the request is expired"
_EC2_AUTH_FAILURE = "AWS was not able to validate the provided access credentials"

# code of the query protocol -> family -> (code, message or "" to keep it, status)
_NAMES: dict[str, dict[str, tuple[str, str, int]]] = {
    "InvalidClientTokenId": {
        "ec2": ("AuthFailure", _EC2_AUTH_FAILURE, 401),
        "json": ("UnrecognizedClientException", _INVALID_TOKEN, 400),
        "rest": ("UnrecognizedClientException", _INVALID_TOKEN, 403),
        "s3": ("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.", 403),
    },
    "SignatureDoesNotMatch": {
        "ec2": ("AuthFailure", _EC2_AUTH_FAILURE, 401),
        "json": ("InvalidSignatureException", "", 400),
        "rest": ("InvalidSignatureException", "", 403),
        "s3": ("SignatureDoesNotMatch", "", 403),
    },
    "ExpiredToken": {
        "ec2": ("RequestExpired", "Request has expired.", 400),
        "json": ("ExpiredTokenException", _EXPIRED, 400),
        "rest": ("ExpiredTokenException", _EXPIRED, 403),
        "s3": ("ExpiredToken", "The provided token has expired.", 400),
    },
    "RequestExpired": {
        "json": ("InvalidSignatureException", "", 400),
        "rest": ("InvalidSignatureException", "", 403),
        "s3": ("AccessDenied", "Request has expired", 403),
    },
    "MissingAuthenticationToken": {
        "json": ("MissingAuthenticationTokenException", "Missing Authentication Token", 400),
        "rest": ("MissingAuthenticationTokenException", "Missing Authentication Token", 403),
        "s3": ("AccessDenied", "Access Denied", 403),
    },
    "IncompleteSignature": {
        "json": ("IncompleteSignatureException", "", 400),
        "rest": ("IncompleteSignatureException", "", 400),
        "s3": ("AuthorizationHeaderMalformed", "", 400),
    },
}


def family_of(request: AwsRequest) -> str:
    """ec2, query, json, rest or s3: how the service that was asked writes its errors."""
    if request.service in ("ec2", "s3"):
        return request.service
    protocol = operation_of(request).protocol
    # A request for nobody in particular is answered in the oldest form, as STS does.
    return "query" if protocol == "rest" and not request.service else protocol


def refusal(request: AwsRequest, refused: Refused) -> AwsResponse:
    family = family_of(replace(request, service=refused.service))
    code, message, status = refused.code, refused.message, refused.status
    if family in _NAMES.get(code, {}):
        code, other, status = _NAMES[code][family]
        message = other or message
    return write(family, code, message, status)


def write(family: str, code: str, message: str, status: int) -> AwsResponse:
    request_id = str(uuid.uuid4())
    identifier = ("x-amzn-RequestId", request_id)
    if family in ("json", "rest"):
        body = json.dumps({"__type": code, "message": message} if family == "json" else {"message": message})
        kind = "application/x-amz-json-1.1" if family == "json" else "application/json"
        return AwsResponse(status, (("Content-Type", kind), ("x-amzn-ErrorType", code), identifier), body.encode())
    fields = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
    if family == "ec2":
        body = f"<Response><Errors><Error>{fields}</Error></Errors><RequestID>{request_id}</RequestID></Response>"
    elif family == "s3":
        body = f"<Error>{fields}<RequestId>{request_id}</RequestId></Error>"
    else:
        body = (
            f"<ErrorResponse><Error><Type>Sender</Type>{fields}</Error>"
            f"<RequestId>{request_id}</RequestId></ErrorResponse>"
        )
    document = '<?xml version="1.0" encoding="UTF-8"?>\n' + body
    return AwsResponse(status, (("Content-Type", "text/xml"), identifier), document.encode())
