"""EKS bearer tokens: `k8s-aws-v1.` + base64url of a presigned `sts:GetCallerIdentity` URL.

The API server never sees a secret: it checks the shape of the URL, adds the header with its own cluster's name, which
the caller must have signed, and lets STS judge the signature. A token made for another cluster therefore fails at STS.
The checks and their order are those of aws-iam-authenticator's `pkg/token`; `authentication` calls `IamAuthenticator`.
"""

from __future__ import annotations

import base64
import binascii
import logging
import re
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Protocol
from urllib.parse import SplitResult, parse_qs, urlsplit

from twinplane.clock import Clock
from twinplane.controlplane.auth import arn
from twinplane.controlplane.auth.contract import Credentials, UserInfo
from twinplane.kubeclient.errors import ApiError, unauthorized

PREFIX = "k8s-aws-v1."
CLUSTER_HEADER = "x-k8s-aws-id"
LIFETIME = 15 * 60.0
"""Seconds after X-Amz-Date for which a token is good, whatever X-Amz-Expires says."""
CLOCK_SKEW = 60.0
"""Seconds by which a client's clock may be ahead of ours."""
_MAXIMUM_LENGTH = 4096
_CACHE_SECONDS = 60.0
_CACHE_ENTRIES = 1024
_SIGNED_WITH = (
    *("algorithm", "credential", "date", "expires"),
    *("security-token", "signature", "signedheaders", "user-agent"),
)
_PARAMETERS = frozenset(("action", "version", *(f"x-amz-{name}" for name in _SIGNED_WITH)))
_STS_HOST = re.compile(r"sts(-fips)?(\.[a-z]{2}(-[a-z]+)+-\d)?\.(amazonaws\.com(\.cn)?|api\.aws)")
_LOG = logging.getLogger(__name__)


class TokenRefused(ValueError):
    """Why a token is not good; for the log, since a client is told only `Unauthorized`."""


@dataclass(frozen=True, slots=True)
class CallerIdentity:
    """STS's answer to GetCallerIdentity."""

    account: str
    arn: str
    user_id: str


class Identify(Protocol):
    async def __call__(self, url: str, headers: Mapping[str, str]) -> CallerIdentity:
        """GET the presigned URL at STS. Raises `TokenRefused` when STS refuses it."""
        ...


@dataclass(frozen=True, slots=True)
class Identity:
    """Who signed a token."""

    arn: str
    canonical_arn: str
    account_id: str
    user_id: str
    session_name: str
    access_key_id: str


class IdentityMapper(Protocol):
    async def user(self, identity: Identity) -> UserInfo | None:
        """The Kubernetes user of an IAM principal; None when the cluster does not know it.

        Raises OSError when the region cannot be asked.
        """
        ...


def decode(token: str) -> tuple[str, SplitResult, dict[str, str]]:
    """The URL in a token, its parts, and its query parameters by lower-case name. Raises `TokenRefused`."""
    if len(token) > _MAXIMUM_LENGTH:
        raise TokenRefused("token is too large")
    if not token.startswith(PREFIX):
        raise TokenRefused(f'token is missing expected "{PREFIX}" prefix')
    text = token.removeprefix(PREFIX)
    try:
        if "=" in text:
            raise TokenRefused("token is padded")
        url = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii")
        parts = urlsplit(url)
        query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=True)
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise TokenRefused(f"token does not hold a URL: {error}") from None
    if any(len(values) != 1 for values in query.values()):
        raise TokenRefused("query parameter with multiple values not supported")
    parameters = {name.lower(): values[0] for name, values in query.items()}
    if len(parameters) != len(query):
        raise TokenRefused("query parameter with multiple values not supported")
    return url, parts, parameters


def check(token: str, *, now: float, hosts: Collection[str] = ()) -> tuple[str, dict[str, str]]:
    """Everything that can be checked without STS. `hosts` are accepted beside AWS's own STS hosts.

    Returns the URL and its query parameters by lower-case name; raises `TokenRefused`.
    """
    url, parts, parameters = decode(token)
    ours = parts.netloc in hosts
    if parts.scheme != "https" and not (ours and parts.scheme == "http"):
        raise TokenRefused(f"unexpected scheme {parts.scheme!r} in pre-signed URL")
    if not (ours or _STS_HOST.fullmatch(parts.netloc)):
        raise TokenRefused(f"unexpected hostname {parts.netloc!r} in pre-signed URL")
    if parts.path != "/":
        raise TokenRefused("unexpected path in pre-signed URL")
    for name in parameters:
        if name not in _PARAMETERS:
            raise TokenRefused(f"non-whitelisted query parameter {name!r}")
    if parameters.get("action") != "GetCallerIdentity":
        raise TokenRefused("unexpected action parameter in pre-signed URL")
    if CLUSTER_HEADER not in parameters.get("x-amz-signedheaders", "").split(";"):
        raise TokenRefused(f"client did not sign the {CLUSTER_HEADER} header in the pre-signed URL")
    expires = parameters.get("x-amz-expires", "")
    if not (expires.isascii() and expires.isdigit() and int(expires) <= LIFETIME):
        raise TokenRefused(f"invalid X-Amz-Expires parameter in pre-signed URL: {expires}")
    signed_at = _signed_at(parameters)
    if now > signed_at + LIFETIME:
        raise TokenRefused("X-Amz-Date parameter is expired (15 minute expiration)")
    if signed_at > now + CLOCK_SKEW:
        raise TokenRefused("X-Amz-Date parameter is in the future")
    return url, parameters


def _signed_at(parameters: Mapping[str, str]) -> float:
    date = parameters.get("x-amz-date", "")
    try:
        return datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise TokenRefused(f"error parsing X-Amz-Date parameter {date!r} into format 20060102T150405Z") from None


def identity_of(caller: CallerIdentity, access_key_id: str) -> Identity:
    """Raises `TokenRefused` for principals that are neither users nor roles."""
    user_id, _, session_name = caller.user_id.partition(":")
    if ":" in session_name:
        raise TokenRefused(f"malformed UserID {caller.user_id!r}")
    try:
        canonical_arn = arn.canonical(caller.arn)
    except ValueError as error:
        raise TokenRefused(str(error)) from None
    return Identity(caller.arn, canonical_arn, caller.account, user_id, session_name, access_key_id)


class IamTokenVerifier:
    """Token -> who signed it, asking STS at most once a minute for each token."""

    def __init__(self, cluster: str, identify: Identify, clock: Clock, *, hosts: Collection[str] = ()) -> None:
        self._cluster = cluster
        self._identify = identify
        self._clock = clock
        self._hosts = frozenset(hosts)
        self._known: OrderedDict[bytes, tuple[float, Identity]] = OrderedDict()

    async def verify(self, token: str) -> Identity:
        """Raises `TokenRefused`."""
        now = self._clock.now()
        key = sha256(token.encode("utf-8", "surrogateescape")).digest()
        known = self._known.get(key)
        if known is not None and now < known[0]:
            return known[1]
        url, parameters = check(token, now=now, hosts=self._hosts)
        caller = await self._identify(url, {CLUSTER_HEADER: self._cluster, "accept": "application/json"})
        identity = identity_of(caller, parameters.get("x-amz-credential", "").partition("/")[0])
        self._known[key] = (min(now + _CACHE_SECONDS, _signed_at(parameters) + LIFETIME), identity)
        self._known.move_to_end(key)
        if len(self._known) > _CACHE_ENTRIES:
            self._known.popitem(last=False)
        return identity


class IamAuthenticator:
    """Bearer tokens with the EKS prefix: verified, then mapped by access entries or `aws-auth`."""

    def __init__(self, verifier: IamTokenVerifier, mapper: IdentityMapper) -> None:
        self._verifier = verifier
        self._mapper = mapper

    async def authenticate(self, credentials: Credentials) -> UserInfo | None:
        if not credentials.token.startswith(PREFIX):
            return None
        try:
            identity = await self._verifier.verify(credentials.token)
            user = await self._mapper.user(identity)
        except TokenRefused as refusal:
            _LOG.info("access denied: %s", refusal)
            raise unauthorized() from None
        except OSError as error:
            raise ApiError("ServiceUnavailable", f"the region cannot be asked who this is: {error}") from error
        if user is None:
            _LOG.info("access denied: ARN is not mapped: %s", identity.canonical_arn)
            raise unauthorized()
        return user
