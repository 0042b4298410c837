"""Signature Version 4: was this request signed with the secret of the access key it names?

Pure: bytes and a date in, an answer or a `Refused` out; who owns a key is `identity.py`'s business. Both places where a
signature travels are understood: the `Authorization` header and the query of a presigned URL. The canonical form is
taken from the request as it came over the wire (raw path, raw query, Host as sent): a decoded and re-encoded path
would accept what AWS refuses and refuse what AWS accepts. Codes and texts are AWS's; `endpoint/errors.py` puts them
into the protocol of the service.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote, unquote_plus

ALGORITHM = "AWS4-HMAC-SHA256"
CLOCK_SKEW_SECONDS = 900
PRESIGNED_SECONDS_MAX = 604_800
_DATE_FORMAT = "%Y%m%dT%H%M%SZ"
_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


class Refused(Exception):
    """The request may not pass: an AWS error code (of the query protocol), its text and the HTTP status."""

    def __init__(self, code: str, message: str, status: int = 403) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.service = ""
        """The service that was asked, when the request said so: a refusal speaks its protocol."""


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """The parts of a request that a signature covers, exactly as they arrived."""

    method: str
    path: str
    """Raw, still percent-encoded."""
    query: str
    headers: Iterable[tuple[str, str]]
    body: bytes


@dataclass(frozen=True, slots=True)
class Signature:
    """What a request claims about itself."""

    access_key_id: str
    date: str
    """Of the scope: YYYYMMDD."""
    region: str
    service: str
    timestamp: str
    """`X-Amz-Date`: YYYYMMDDTHHMMSSZ."""
    signed_headers: tuple[str, ...]
    value: str
    session_token: str = ""
    expires_seconds: int | None = None
    """Of a presigned URL; None when the signature came in a header."""

    @property
    def scope(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


def read_signature(headers: Mapping[str, str], query: str) -> Signature | None:
    """The signature a request carries, None when it carries none. Raises `Refused` (400) when it is malformed.

    `headers` has lower-case names.
    """
    authorization = headers.get("authorization", "")
    if authorization.startswith(ALGORITHM):
        return _from_header(authorization, headers)
    if "X-Amz-Algorithm=" in query:
        return _from_query(query)
    if authorization:
        raise Refused("IncompleteSignature", f"Unsupported authorization type '{authorization.split(' ')[0]}'.", 400)
    return None


def _from_header(authorization: str, headers: Mapping[str, str]) -> Signature:
    fields: dict[str, str] = {}
    for part in authorization[len(ALGORITHM) :].split(","):
        name, _, value = part.strip().partition("=")
        fields[name] = value
    missing = [name for name in ("Credential", "SignedHeaders", "Signature") if not fields.get(name)]
    if missing:
        needs = " ".join(f"Authorization header requires '{name}' parameter." for name in missing)
        raise Refused("IncompleteSignature", f"{needs} Authorization={authorization.split(' ', maxsplit=1)[0]}", 400)
    timestamp = headers.get("x-amz-date", "")
    if not timestamp:
        raise Refused(
            "IncompleteSignature",
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
            400,
        )
    access_key_id, date, region, service = _scope(fields["Credential"])
    return Signature(
        access_key_id,
        date,
        region,
        service,
        timestamp,
        signed_headers=tuple(fields["SignedHeaders"].split(";")),
        value=fields["Signature"],
        session_token=headers.get("x-amz-security-token", ""),
    )


def _from_query(query: str) -> Signature:
    fields = {name: unquote(value) for name, value in _query_pairs(query)}
    required = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Signature")
    missing = [name for name in required if not fields.get(name)]
    if missing:
        raise Refused("IncompleteSignature", f"AWS query-string parameters must include '{missing[0]}'.", 400)
    if fields["X-Amz-Algorithm"] != ALGORITHM:
        raise Refused("IncompleteSignature", f"Unsupported AWS 'algorithm': '{fields['X-Amz-Algorithm']}'.", 400)
    expires = fields.get("X-Amz-Expires", "900")
    if not expires.isdigit() or not 0 < int(expires) <= PRESIGNED_SECONDS_MAX:
        raise Refused("IncompleteSignature", "X-Amz-Expires must be a number of seconds between 1 and 604800.", 400)
    access_key_id, date, region, service = _scope(fields["X-Amz-Credential"])
    return Signature(
        access_key_id,
        date,
        region,
        service,
        fields["X-Amz-Date"],
        signed_headers=tuple(fields["X-Amz-SignedHeaders"].split(";")),
        value=fields["X-Amz-Signature"],
        session_token=fields.get("X-Amz-Security-Token", ""),
        expires_seconds=int(expires),
    )


def _scope(credential: str) -> tuple[str, str, str, str]:
    """Access key id, date, region and service of a credential."""
    parts = credential.rsplit("/", 4)
    if len(parts) != 5 or parts[4] != "aws4_request":
        raise Refused(
            "IncompleteSignature", f"Credential must have exactly 5 slash-delimited elements, got '{credential}'.", 400
        )
    return parts[0], parts[1], parts[2], parts[3].lower()


def check_date(signature: Signature, now: float) -> None:
    """Raises `Refused` for a request whose date is off by more than 15 minutes or whose presigned life is over."""
    try:
        signed_at = datetime.strptime(signature.timestamp, _DATE_FORMAT).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise Refused(
            "IncompleteSignature", f"Date must be in ISO-8601 'basic format'. Got '{signature.timestamp}'.", 400
        ) from None
    if not signature.timestamp.startswith(signature.date):
        raise Refused(
            "SignatureDoesNotMatch",
            f"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{signature.date}' != '{signature.timestamp[:8]}', from '{signature.timestamp}'.",
        )
    if signature.expires_seconds is not None and signature.service != "sts":
        if now > signed_at + signature.expires_seconds:
            raise Refused("RequestExpired", "Request has expired.", 400)
    elif now > signed_at + CLOCK_SKEW_SECONDS:
        # STS takes a presigned URL for 15 minutes whatever its X-Amz-Expires says; EKS tokens rely on that.
        limit = _basic(now - CLOCK_SKEW_SECONDS)
        raise Refused(
            "SignatureDoesNotMatch",
            f"Signature expired: {signature.timestamp} is now earlier than {limit} ({_basic(now)} - 15 min.)",
        )
    if signed_at > now + CLOCK_SKEW_SECONDS:
        limit = _basic(now + CLOCK_SKEW_SECONDS)
        raise Refused(
            "SignatureDoesNotMatch",
            f"Signature not yet current: {signature.timestamp} is still later than {limit} ({_basic(now)} + 15 min.)",
        )


def _basic(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime(_DATE_FORMAT)


MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)


def check_signature(request: SignedRequest, signature: Signature, secret: str) -> None:
    """Raises `Refused` SignatureDoesNotMatch unless `secret` made this signature of this request."""
    expected = sign(_string_to_sign(request, signature), signature, secret)
    if not hmac.compare_digest(expected, signature.value):
        raise Refused("SignatureDoesNotMatch", MISMATCH)


def sign(string_to_sign: str, signature: Signature, secret: str) -> str:
    key = b"AWS4" + secret.encode()
    for part in (signature.date, signature.region, signature.service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, string_to_sign.encode(), "sha256").hex()


def _string_to_sign(request: SignedRequest, signature: Signature) -> str:
    canonical = canonical_request(request, signature)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return f"{ALGORITHM}\n{signature.timestamp}\n{signature.scope}\n{digest}"


def canonical_request(request: SignedRequest, signature: Signature) -> str:
    values: dict[str, list[str]] = {}
    for name, value in request.headers:
        values.setdefault(name.lower(), []).append(" ".join(value.split()))
    headers = "".join(f"{name}:{','.join(values.get(name, []))}\n" for name in signature.signed_headers)
    return "\n".join(
        (
            request.method,
            _canonical_path(request.path, signature.service),
            _canonical_query(request.query),
            headers,
            ";".join(signature.signed_headers),
            _payload_hash(request, signature, values),
        )
    )


def _canonical_path(path: str, service: str) -> str:
    if service == "s3":
        # S3 signs the path as it is on the wire; every other service encodes it once more.
        return "/".join(quote(unquote(segment), safe="-_.~") for segment in path.split("/")) or "/"
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == ".." and segments:
            segments.pop()
        elif segment not in ("", ".", ".."):
            segments.append(segment)
    trailing = "/" if path.endswith("/") and segments else ""
    return quote("/" + "/".join(segments) + trailing, safe="/-_.~")


def _canonical_query(query: str) -> str:
    pairs = [
        (quote(unquote_plus(name), safe="-_.~"), quote(unquote_plus(value), safe="-_.~"))
        for name, value in _query_pairs(query)
        if name != "X-Amz-Signature"
    ]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _query_pairs(query: str) -> list[tuple[str, str]]:
    pairs = []
    for part in query.split("&"):
        if part:
            name, _, value = part.partition("=")
            pairs.append((name, value))
    return pairs


def _payload_hash(request: SignedRequest, signature: Signature, headers: Mapping[str, list[str]]) -> str:
    claimed = headers.get("x-amz-content-sha256", [""])[0]
    if signature.expires_seconds is not None and signature.service == "s3":
        return claimed or "UNSIGNED-PAYLOAD"
    actual = hashlib.sha256(request.body).hexdigest() if request.body else _EMPTY_SHA256
    if not claimed:
        return actual
    if claimed == "UNSIGNED-PAYLOAD" or claimed.startswith("STREAMING-"):
        return claimed
    if claimed != actual:
        raise Refused(
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
            400,
        )
    return claimed
