"""Service-account tokens: issued by TokenRequest, verified on every request that carries one.

Claims and checks are those of upstream's `pkg/serviceaccount`: a token dies with the service account, pod, secret or
node it is bound to. Signatures are remembered (they cannot change); everything that can change is read every time.
"""

from __future__ import annotations

import base64
import binascii
import logging
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from twinplane.clock import Clock
from twinplane.controlplane.admission.contract import ObjectReader
from twinplane.controlplane.auth import json_web_signature as jws
from twinplane.controlplane.auth.contract import AUTHENTICATED, Credentials, UserInfo
from twinplane.controlplane.auth.iam_token import PREFIX as IAM_PREFIX
from twinplane.controlplane.auth.legacy_token_use import INVALID_SINCE
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import unauthorized
from twinplane.kubeclient.resources import NODES, PODS, SECRETS, SERVICE_ACCOUNTS

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

GROUP = "system:serviceaccounts"
LEGACY_ISSUER = "kubernetes/serviceaccount"
EXTENDED_LIFETIME = 90 * 24 * 3600
"""Seconds that EKS lets a pod's projected token live on for clients that do not reload it."""
WARN_AFTER = 3607
"""`expirationSeconds` of projected tokens whose lifetime is extended."""
_REMEMBERED = 1024
_LOG = logging.getLogger(__name__)


class TokenRefused(ValueError):
    """Why a token is not good: TokenReview tells it, other callers only learn `Unauthorized`."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a token is bound to beside its service account: name and uid of a pod, secret or node."""

    name: str
    uid: str

    def claim(self) -> dict[str, str]:
        return {"name": self.name, "uid": self.uid}


@dataclass(frozen=True, slots=True)
class Binding:
    pod: Bound | None = None
    secret: Bound | None = None
    node: Bound | None = None

    def claims(self) -> dict[str, Any]:
        parts = (("pod", self.pod), ("secret", self.secret), ("node", self.node))
        return {name: bound.claim() for name, bound in parts if bound is not None}


class TokenIssuer:
    """Signs with one key; `issuer` is the cluster's OIDC issuer URL."""

    def __init__(
        self,
        key: RSAPrivateKey,
        *,
        issuer: str,
        clock: Clock,
        api_audiences: Sequence[str] = ("https://kubernetes.default.svc",),
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._key = key
        self._kid = jws.key_id(key.public_key())
        self._clock = clock
        self._new_id = new_id
        self.issuer = issuer
        self.api_audiences = tuple(api_audiences)

    def issue(
        self, account: Object, *, audiences: Sequence[str], seconds: int, binding: Binding = Binding()
    ) -> tuple[str, float]:
        """The token and when it expires, as a client should see it (an extended token lives on)."""
        now = int(self._clock.now())
        metadata = account["metadata"]
        private: dict[str, Any] = {
            "namespace": metadata["namespace"],
            "serviceaccount": {"name": metadata["name"], "uid": metadata["uid"]},
            **binding.claims(),
        }
        lifetime = seconds
        if seconds == WARN_AFTER and binding.pod is not None and set(audiences) <= set(self.api_audiences):
            lifetime = EXTENDED_LIFETIME
            private["warnafter"] = now + seconds
        claims = {
            "iss": self.issuer,
            "sub": username(metadata["namespace"], metadata["name"]),
            "aud": list(audiences),
            "iat": now,
            "nbf": now,
            "exp": now + lifetime,
            "jti": self._new_id(),
            "kubernetes.io": private,
        }
        return jws.sign(claims, self._key, self._kid), float(now + seconds)

    def legacy(self, account: Object, secret_name: str) -> str:
        """The token of a secret of type kubernetes.io/service-account-token: it never expires."""
        metadata = account["metadata"]
        prefix = "kubernetes.io/serviceaccount/"
        claims = {
            "iss": LEGACY_ISSUER,
            "sub": username(metadata["namespace"], metadata["name"]),
            f"{prefix}namespace": metadata["namespace"],
            f"{prefix}secret.name": secret_name,
            f"{prefix}service-account.name": metadata["name"],
            f"{prefix}service-account.uid": metadata["uid"],
        }
        return jws.sign(claims, self._key, self._kid)


def username(namespace: str, name: str) -> str:
    return f"system:serviceaccount:{namespace}:{name}"


class ServiceAccountTokenAuthenticator:
    """`keys` are all that may have signed; `issuers[0]` is what is issued now, the others are still accepted."""

    def __init__(
        self,
        keys: Sequence[RSAPublicKey],
        *,
        issuers: Sequence[str],
        api_audiences: Sequence[str],
        reader: ObjectReader,
        clock: Clock,
    ) -> None:
        self._keys = tuple(keys)
        self._issuers = frozenset((*issuers, LEGACY_ISSUER))
        self._audiences = tuple(api_audiences)
        self._reader = reader
        self._clock = clock
        self._verified: OrderedDict[bytes, jws.Claims] = OrderedDict()
        self.used: Callable[[Object], None] = lambda secret: None
        """Told of each Secret whose token was used."""

    async def authenticate(self, credentials: Credentials) -> UserInfo | None:
        claims = self._recognised(credentials.token)
        if claims is None:
            return None
        try:
            return self.verify(credentials.token, self._audiences)[0]
        except TokenRefused as refusal:
            _LOG.info("unable to authenticate the request: %s", refusal)
            raise unauthorized() from None

    def verify(self, token: str, audiences: Sequence[str]) -> tuple[UserInfo, tuple[str, ...]]:
        """The user, and which of `audiences` (none: the API server's) the token is for. Raises `TokenRefused`."""
        claims = self._recognised(token)
        if claims is None:
            raise TokenRefused("invalid bearer token")
        self._check_signature(token, claims)
        wanted = tuple(audiences) or self._audiences
        if claims.get("iss") == LEGACY_ISSUER:
            return self._legacy_user(token, claims), tuple(each for each in wanted if each in self._audiences)
        self._check_dates(claims)
        named = claims.get("aud") or []
        intended = [named] if isinstance(named, str) else named
        common = tuple(each for each in wanted if each in intended)
        if not common:
            shown = " ".join(f'"{each}"' for each in intended)
            raise TokenRefused(f"invalid bearer token, token audiences [{shown}] is invalid for the target audiences")
        return self._user(claims), common

    def _recognised(self, token: str) -> jws.Claims | None:
        if not token or token.startswith(IAM_PREFIX):
            return None
        known = self._verified.get(_digest(token))
        claims = known if known is not None else jws.unverified_claims(token)
        issuer = (claims or {}).get("iss")
        return claims if isinstance(issuer, str) and issuer in self._issuers else None

    def _check_signature(self, token: str, claims: jws.Claims) -> None:
        key = _digest(token)
        if key in self._verified:
            self._verified.move_to_end(key)
            return
        if not jws.signed_by(token, self._keys):
            raise TokenRefused("invalid bearer token, square/go-jose: error in cryptographic primitive")
        self._verified[key] = claims
        if len(self._verified) > _REMEMBERED:
            self._verified.popitem(last=False)

    def _check_dates(self, claims: jws.Claims) -> None:
        now = self._clock.now()
        if not isinstance(claims.get("exp"), int | float) or now >= claims["exp"]:
            raise TokenRefused("service account token has expired")
        if isinstance(claims.get("nbf"), int | float) and now < claims["nbf"] - 60:
            raise TokenRefused("service account token is not valid yet")

    def _user(self, claims: jws.Claims) -> UserInfo:
        private = claims.get("kubernetes.io")
        if not isinstance(private, dict):
            raise TokenRefused("service account token has no kubernetes.io claim")
        namespace = str(private.get("namespace", ""))
        account = _reference(private, "serviceaccount")
        if account is None or claims.get("sub") != username(namespace, account.name):
            raise TokenRefused("service account token is invalid: sub does not match its claims")
        self._must_exist(SERVICE_ACCOUNTS, account, namespace, "service account")
        extra: dict[str, tuple[str, ...]] = {
            "authentication.kubernetes.io/credential-id": (f"JTI={claims.get('jti', '')}",)
        }
        secret, pod, node = (_reference(private, kind) for kind in ("secret", "pod", "node"))
        if secret is not None:
            self._must_exist(SECRETS, secret, namespace, "service account token")
        if pod is not None:
            self._must_exist(PODS, pod, namespace, "service account token")
            extra["authentication.kubernetes.io/pod-name"] = (pod.name,)
            extra["authentication.kubernetes.io/pod-uid"] = (pod.uid,)
        if node is not None:
            if pod is None:
                self._must_exist(NODES, node, "", "service account token")
            extra["authentication.kubernetes.io/node-name"] = (node.name,)
            extra["authentication.kubernetes.io/node-uid"] = (node.uid,)
        return _user_info(namespace, account.name, account.uid, extra)

    def _must_exist(self, resource: Resource, bound: Bound, namespace: str, what: str) -> None:
        found = self._reader.get(resource, bound.name, namespace)
        metadata = (found or {}).get("metadata", {})
        if found is None or metadata.get("uid") != bound.uid:
            raise TokenRefused(f"{what} has been invalidated")
        deleted = metadata.get("deletionTimestamp")
        if deleted and resource is not PODS:
            raise TokenRefused(f"{what} has been deleted")

    def _legacy_user(self, token: str, claims: jws.Claims) -> UserInfo:
        prefix = "kubernetes.io/serviceaccount/"
        fields = ("namespace", "secret.name", "service-account.name", "service-account.uid")
        namespace, secret_name, name, uid = (str(claims.get(prefix + field, "")) for field in fields)
        if not (namespace and secret_name and name) or claims.get("sub") != username(namespace, name):
            raise TokenRefused("service account token is invalid: its claims are incomplete")
        secret = self._reader.get(SECRETS, secret_name, namespace)
        if secret is None or _secret_token(secret) != token:
            raise TokenRefused("token has been invalidated")
        self._must_exist(SERVICE_ACCOUNTS, Bound(name, uid), namespace, "service account")
        self.used(secret)
        if (secret["metadata"].get("labels") or {}).get(INVALID_SINCE):
            raise TokenRefused(
                f"the token in secret {namespace}/{secret_name} for service account {namespace}/{name} has been marked "
                "invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the "
                f"'{INVALID_SINCE}' label from the secret to temporarily allow use of this token"
            )
        return _user_info(namespace, name, uid, {})


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


def _reference(private: dict[str, Any], kind: str) -> Bound | None:
    found = private.get(kind)
    return Bound(str(found.get("name", "")), str(found.get("uid", ""))) if isinstance(found, dict) else None


def _secret_token(secret: Object) -> str:
    try:
        return base64.b64decode((secret.get("data") or {}).get("token", "")).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _user_info(namespace: str, name: str, uid: str, extra: dict[str, tuple[str, ...]]) -> UserInfo:
    groups = (GROUP, f"{GROUP}:{namespace}", AUTHENTICATED)
    return UserInfo(username(namespace, name), groups, uid, extra)
