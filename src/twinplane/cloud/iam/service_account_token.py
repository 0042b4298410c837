"""Tokens of the service accounts of this region's clusters, verified with the key of the cluster that they name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

IssuerKeys = Callable[[str], str]
"""Issuer -> PEM of the public key that verifies its tokens; empty for an issuer that is none of ours."""


class TokenRefused(Exception):
    def __init__(self, reason: Literal["malformed", "issuer", "signature", "expired"], message: str) -> None:
        super().__init__(message)
        self.reason = reason


def claims_of(token: str, keys: IssuerKeys, now: float) -> dict[str, Any]:
    """Of a token that is ours and has not expired at `now` (seconds since the epoch). Raises `TokenRefused`."""
    # Imported with the first token: most regions never see one.
    import orjson
    from joserfc import jws, jwt
    from joserfc.errors import JoseError
    from joserfc.jwk import RSAKey

    try:
        unverified = orjson.loads(jws.extract_compact(token.encode()).payload or b"")
        issuer = str(unverified["iss"])
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise TokenRefused(
            "malformed",
            "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)",
        ) from error
    pem = keys(issuer)
    if not pem:
        raise TokenRefused("issuer", f"No OpenIDConnect provider found in your account for {issuer}")
    try:
        claims: dict[str, Any] = jwt.decode(token, RSAKey.import_key(pem), algorithms=["RS256"]).claims
        expires = float(claims.get("exp", 0))
    except (JoseError, ValueError) as error:
        raise TokenRefused("signature", "Couldn't verify the signature of the token with its issuer's keys") from error
    if now >= expires:
        raise TokenRefused(
            "expired",
            f"Token expired: current date/time {int(now)} must be before the expiration date/time {int(expires)}",
        )
    return claims
