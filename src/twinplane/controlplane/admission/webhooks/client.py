"""Calling a webhook: AdmissionReview over HTTPS, and what is wrong with the answer.

aiohttp is imported with the first call, since most clusters have no webhooks. One session is kept for all of them, so
connections are reused; TLS contexts are kept by CA bundle. Failures are `CallFailed` with upstream's wording
(apiserver `pkg/util/webhook` and `.../plugin/webhook/request/admissionreview.go`).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import orjson

from twinplane.controlplane.admission.webhooks.configuration import Hook
from twinplane.controlplane.api.extensions.dialing import ServiceResolver, Unreachable
from twinplane.kubeclient.contract import Object

if TYPE_CHECKING:
    import aiohttp

MAX_ANSWER = 3 * 1024 * 1024
_CONTEXTS = 64


class CallFailed(Exception):
    """The webhook gave no usable answer: its failure policy decides."""


class WebhookClient:
    def __init__(self, resolve: ServiceResolver) -> None:
        self._resolve = resolve
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def call(self, hook: Hook, review_request: Object, *, mutating: bool) -> Object:
        """The AdmissionResponse. Raises `CallFailed`."""
        if not hook.review_version:
            raise CallFailed("none of the webhook's admissionReviewVersions is known")
        api_version = f"admission.k8s.io/{hook.review_version}"
        review = {"kind": "AdmissionReview", "apiVersion": api_version, "request": review_request}
        url = _url(hook)
        try:
            async with asyncio.timeout(hook.timeout):
                answer = await self._post(hook, url, orjson.dumps(review))
        except TimeoutError:
            raise CallFailed(f'failed to call webhook: Post "{url}": context deadline exceeded') from None
        return _response(answer, api_version, review_request["uid"], mutating=mutating)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _post(self, hook: Hook, url: str, body: bytes) -> bytes:
        import aiohttp

        try:
            try:
                status, answer = await self._exchange(hook, url, body)
            except aiohttp.ServerDisconnectedError:
                # A kept connection that the server closed just then: Go's client asks once more, too.
                status, answer = await self._exchange(hook, url, body)
        except (aiohttp.ClientError, OSError, ssl.SSLError) as error:
            raise CallFailed(f'failed to call webhook: Post "{url}": {_go_words(error)}') from error
        if len(answer) > MAX_ANSWER:
            raise CallFailed(f"failed to call webhook: the response is larger than {MAX_ANSWER} bytes")
        if not 200 <= status < 300:
            raise CallFailed(f"failed to call webhook: {_refusal(status, answer)}")
        return answer

    async def _exchange(self, hook: Hook, url: str, body: bytes) -> tuple[int, bytes]:
        """Status and body, of which no more is read than one byte beyond `MAX_ANSWER`."""
        import aiohttp

        target, headers, server_name = self._target(hook, url)
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), trust_env=False)
        async with self._session.post(
            target,
            data=body,
            headers={**headers, "content-type": "application/json", "accept": "application/json"},
            ssl=self._context(hook.client.get("caBundle") or ""),
            server_hostname=server_name,
            allow_redirects=False,
        ) as response:
            answer = bytearray()
            async for piece in response.content.iter_any():
                answer += piece
                if len(answer) > MAX_ANSWER:
                    break
            return response.status, bytes(answer)

    def _target(self, hook: Hook, url: str) -> tuple[str, dict[str, str], str | None]:
        """(URL to connect to, headers, name that the certificate must bear); services are connected to directly."""
        service = hook.client.get("service")
        if service is None:
            return url, {}, None
        namespace, name, port = service["namespace"], service["name"], service.get("port") or 443
        try:
            host, target_port = self._resolve(namespace, name, port)
        except Unreachable as error:
            raise CallFailed(f'failed to call webhook: Post "{url}": {error}') from None
        parts = urlsplit(url)
        shown_host = f"[{host}]" if ":" in host else host
        target = urlunsplit((parts.scheme, f"{shown_host}:{target_port}", parts.path, parts.query, ""))
        return target, {"host": parts.netloc}, f"{name}.{namespace}.svc"

    def _context(self, bundle: str) -> ssl.SSLContext:
        context = self._contexts.get(bundle)
        if context is None:
            try:
                pem = base64.b64decode(bundle).decode() if bundle else None
                context = ssl.create_default_context(cadata=pem)
            except (binascii.Error, UnicodeDecodeError, ssl.SSLError) as error:
                raise CallFailed(f"could not get REST client: unable to load root certificates: {error}") from None
            # Upstream's Go accepts authorities without the extensions that strict RFC 5280 checking wants.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            if len(self._contexts) >= _CONTEXTS:
                self._contexts.clear()
            self._contexts[bundle] = context
        return context


def _url(hook: Hook) -> str:
    """As upstream words it in messages: services under their DNS name, with the timeout as a parameter."""
    service = hook.client.get("service")
    if service is not None:
        path = "/" + (service.get("path") or "").lstrip("/")
        address = f"https://{service['name']}.{service['namespace']}.svc:{service.get('port') or 443}{path}"
    else:
        address = hook.client.get("url") or ""
    parts = urlsplit(address)
    query = [*parse_qsl(parts.query, keep_blank_values=True), ("timeout", f"{hook.timeout:g}s")]
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query), ""))


def _go_words(error: Exception) -> str:
    text = str(error)
    if isinstance(error, ssl.SSLError) or "certificate" in text.lower():
        return f"tls: failed to verify certificate: x509: {text}"
    errors: list[BaseException | None] = [error, getattr(error, "os_error", None)]
    if any(isinstance(each, ConnectionRefusedError) for each in errors):
        host, port = getattr(error, "host", ""), getattr(error, "port", "")
        return f"dial tcp {host}:{port}: connect: connection refused"
    return text or "EOF"


def _refusal(status: int, body: bytes) -> str:
    known = {
        401: "the server has asked for the client to provide credentials",
        403: "the server does not allow access to the requested resource",
        404: "the server could not find the requested resource",
        405: "the server does not allow this method on the requested resource",
        429: "the server has received too many requests and has asked us to try again later",
        503: "the server is currently unable to handle the request",
        504: "the server was unable to return a response in the time allotted, but may still be processing the request",
    }
    if status in known:
        return known[status]
    shown = json.dumps(body[:2048].decode(errors="replace").strip() or "unknown", ensure_ascii=False)
    if status >= 500:
        return f"an error on the server ({shown}) has prevented the request from succeeding"
    return f"the server responded with the status code {status} but did not return more information"


def _response(answer: bytes, api_version: str, uid: str, *, mutating: bool) -> Object:
    try:
        review = orjson.loads(answer)
    except orjson.JSONDecodeError as error:
        raise CallFailed(f"failed to call webhook: couldn't get version/kind; json parse error: {error}") from None
    response = review.get("response") if isinstance(review, dict) else None
    if not isinstance(response, dict):
        raise CallFailed("received invalid webhook response: webhook response was absent")
    problem = "" if api_version.endswith("/v1beta1") else _problem(review, response, uid, mutating=mutating)
    problem = problem or _misshapen(response)
    if problem:
        raise CallFailed(f"received invalid webhook response: {problem}")
    return response


def _problem(review: Mapping[str, Any], response: Mapping[str, Any], uid: str, *, mutating: bool) -> str:
    if response.get("uid") != uid:
        return f'expected response.uid="{uid}", got "{response.get("uid") or ""}"'
    if (review.get("apiVersion"), review.get("kind")) != ("admission.k8s.io/v1", "AdmissionReview"):
        given = f"{review.get('apiVersion') or ''}, Kind={review.get('kind') or ''}"
        return f"expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {given}"
    patch, patch_type = response.get("patch"), response.get("patchType")
    if not mutating:
        if patch:
            return "validating webhook may not return response.patch"
        return "validating webhook may not return response.patchType" if patch_type is not None else ""
    if patch and patch_type is None:
        return "webhook returned response.patch but not response.patchType"
    if not patch and patch_type is not None:
        return "webhook returned response.patchType but not response.patch"
    return 'webhook returned invalid response.patchType of ""' if patch_type == "" else ""


_SHAPES = {"allowed": bool, "status": dict, "patch": str, "patchType": str, "auditAnnotations": dict, "warnings": list}


def _misshapen(response: Mapping[str, Any]) -> str:
    """What Go's decoder would have refused."""
    for field, shape in _SHAPES.items():
        value = response.get(field)
        if value is not None and not isinstance(value, shape):
            return f"json: cannot unmarshal response.{field}"
    return ""
