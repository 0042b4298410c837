"""The reviews and requests that speak of tokens: serviceaccounts/NAME/token, TokenReview, and OIDC discovery.

The API server's verbs for these resources call the functions here with the body of the request and answer with what
they return.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twinplane.clock import rfc3339
from twinplane.controlplane.admission.contract import ObjectReader
from twinplane.controlplane.auth import json_web_signature as jws
from twinplane.controlplane.auth.contract import Authenticator, Credentials, UserInfo
from twinplane.controlplane.auth.service_account_token import (
    Binding,
    Bound,
    ServiceAccountTokenAuthenticator,
    TokenIssuer,
    TokenRefused,
)
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError, FieldError, bad_request, conflict, invalid, not_found
from twinplane.kubeclient.resources import NODES, PODS, SECRETS, SERVICE_ACCOUNTS

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

DEFAULT_SECONDS = 3600
MINIMUM_SECONDS = 600
MAXIMUM_SECONDS = 1 << 32
_BINDABLE = {("v1", "Pod"): PODS, ("v1", "Secret"): SECRETS, ("v1", "Node"): NODES}


def create_token(issuer: TokenIssuer, reader: ObjectReader, namespace: str, name: str, body: Object) -> Object:
    """POST serviceaccounts/NAME/token: `body` is a TokenRequest; the answer is it with its status."""
    account = reader.get(SERVICE_ACCOUNTS, name, namespace)
    if account is None:
        raise not_found("", "serviceaccounts", name)
    spec = body.get("spec") or {}
    audiences = list(spec.get("audiences") or issuer.api_audiences)
    seconds = spec.get("expirationSeconds")
    seconds = DEFAULT_SECONDS if seconds is None else seconds
    errors = _duration_errors(seconds)
    if errors:
        raise invalid("authentication.k8s.io", "TokenRequest", "", errors)
    reference = spec.get("boundObjectRef")
    binding = _bind(reader, account, reference) if reference else Binding()
    token, expires = issuer.issue(account, audiences=audiences, seconds=seconds, binding=binding)
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": rfc3339(expires - seconds)},
        "spec": {
            "audiences": audiences,
            "expirationSeconds": seconds,
            "boundObjectRef": reference or None,
        },
        "status": {"token": token, "expirationTimestamp": rfc3339(expires)},
    }


def _duration_errors(seconds: Any) -> list[FieldError]:
    path = "spec.expirationSeconds"
    if not isinstance(seconds, int) or isinstance(seconds, bool):
        return [FieldError("FieldValueTypeInvalid", path, "must be an integer", seconds)]
    if seconds < MINIMUM_SECONDS:
        return [FieldError("FieldValueInvalid", path, "may not specify a duration less than 10 minutes", seconds)]
    if seconds > MAXIMUM_SECONDS:
        return [FieldError("FieldValueInvalid", path, "may not specify a duration larger than 2^32 seconds", seconds)]
    return []


def _bind(reader: ObjectReader, account: Object, reference: Object) -> Binding:
    kind, name = str(reference.get("kind", "")), str(reference.get("name", ""))
    resource = _BINDABLE.get((reference.get("apiVersion") or "v1", kind))
    if resource is None:
        raise bad_request(f"cannot bind token for serviceaccount to object of type {kind}")
    found = reader.get(resource, name, account["metadata"]["namespace"] if resource.namespaced else "")
    if found is None:
        raise not_found("", resource.plural, name)
    uid = found["metadata"]["uid"]
    wanted = reference.get("uid")
    if wanted and wanted != uid:
        why = (
            f"the UID in the bound object reference ({wanted}) does not match the UID in record. "
            "The object might have been deleted and then recreated"
        )
        raise conflict("", resource.plural, name, why)
    bound = Bound(name, uid)
    if kind != "Pod":
        return Binding(secret=bound) if kind == "Secret" else Binding(node=bound)
    return Binding(pod=bound, node=_node_of(reader, account, found))


def _node_of(reader: ObjectReader, account: Object, pod: Object) -> Bound | None:
    spec = pod.get("spec", {})
    if account["metadata"]["name"] != (spec.get("serviceAccountName") or "default"):
        raise bad_request(
            f'cannot bind token for serviceaccount "{account["metadata"]["name"]}" '
            "to pod running with different serviceaccount name."
        )
    node_name = spec.get("nodeName")
    if not node_name:
        return None
    node = reader.get(NODES, node_name)
    return Bound(node_name, node["metadata"]["uid"] if node else "")


async def review_token(
    authenticator: Authenticator, accounts: ServiceAccountTokenAuthenticator, body: Object
) -> Object:
    """POST tokenreviews: who a token belongs to. Audiences are those asked for that the token is meant for."""
    spec = body.get("spec") or {}
    token = spec.get("token") or ""
    if not token:
        raise bad_request("token is required for TokenReview in authentication")
    audiences = list(spec.get("audiences") or ())
    status: Object = {"user": {}}
    try:
        user, common = await _owner(authenticator, accounts, token, audiences)
        status = {"authenticated": True, "user": user_status(user)}
        if common:
            status["audiences"] = list(common)
    except TokenRefused as refusal:
        status["error"] = str(refusal)
    except ApiError as error:
        status["error"] = error.message if error.code != 401 else "invalid bearer token"
    return {
        "kind": "TokenReview",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"creationTimestamp": None},
        "spec": spec,
        "status": status,
    }


async def _owner(
    authenticator: Authenticator, accounts: ServiceAccountTokenAuthenticator, token: str, audiences: list[str]
) -> tuple[UserInfo, Sequence[str]]:
    if jws.unverified_claims(token) is not None:
        return accounts.verify(token, audiences)
    user = await authenticator.authenticate(Credentials(token=token))
    if user is None:
        raise TokenRefused("invalid bearer token")
    return user, audiences


def user_status(user: UserInfo) -> Object:
    """`authentication/v1` UserInfo, as TokenReview and SelfSubjectReview show it."""
    shown: Object = {"username": user.name}
    if user.uid:
        shown["uid"] = user.uid
    if user.groups:
        shown["groups"] = list(user.groups)
    if user.extra:
        shown["extra"] = {key: list(values) for key, values in user.extra.items()}
    return shown


def openid_configuration(issuer: str, api_server: str = "") -> Object:
    """`/.well-known/openid-configuration`; `api_server` is the URL under which the key set is reached."""
    base = (api_server or issuer).rstrip("/")
    return {
        "issuer": issuer,
        "jwks_uri": f"{base}/openid/v1/jwks",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }


def key_set(keys: Sequence[RSAPublicKey]) -> Object:
    """`/openid/v1/jwks`."""
    return {"keys": [jws.web_key(key) for key in keys]}
