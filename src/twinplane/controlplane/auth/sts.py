"""Ask the region's STS who presigned a URL: the aiohttp side of `iam_token`.

The URL names AWS's public host (`sts.us-west-2.amazonaws.com`), which is part of what was signed; the request goes to
the region's own endpoint with that Host header kept, so the signature is judged as it was made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from twinplane.controlplane.auth.iam_token import CallerIdentity, TokenRefused
from twinplane.kubeclient.errors import ApiError

if TYPE_CHECKING:
    import aiohttp

_TIMEOUT = 10.0


class StsIdentify:
    """`endpoint` is the base URL of the region's AWS endpoint, e.g. `http://127.0.0.1:4566`."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, url: str, headers: Mapping[str, str]) -> CallerIdentity:
        """Raises `TokenRefused` when STS says no, `ApiError` ServiceUnavailable when it cannot be asked."""
        import aiohttp
        from yarl import URL

        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT))
        parts = urlsplit(url)
        target = URL(f"{self._endpoint}/?{parts.query}", encoded=True)
        try:
            async with self._session.get(target, headers={**headers, "Host": parts.netloc}) as response:
                body = await response.text()
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError("ServiceUnavailable", f"unable to reach STS: {error}") from error
        if status in (400, 403):
            raise TokenRefused(f"error from AWS (expected 200, got {status}). Body: {body[:500]}")
        if status != 200:
            raise ApiError("ServiceUnavailable", f"STS answered {status}")
        return caller_identity(body)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def caller_identity(body: str) -> CallerIdentity:
    """From STS's answer, as JSON (what `Accept: application/json` asks for) or as XML. Raises `TokenRefused`."""
    try:
        found = _from_json(body) if body.lstrip().startswith("{") else _from_xml(body)
        return CallerIdentity(account=found["Account"], arn=found["Arn"], user_id=found["UserId"])
    except (ValueError, KeyError, TypeError, SyntaxError) as error:
        raise TokenRefused(f"STS answered something that is no caller identity: {error}") from None


def _from_json(body: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(body)["GetCallerIdentityResponse"]["GetCallerIdentityResult"]
    return result


def _from_xml(body: str) -> dict[str, Any]:
    from xml.etree import ElementTree

    root = ElementTree.fromstring(body)
    return {element.tag.rpartition("}")[2]: element.text or "" for element in root.iter()}
