"""The few AWS calls that nodes make: EC2's query protocol, and the region's feed of instances.

`Aws` is the contract (tests have an account in memory); `HttpAws` speaks to an endpoint with signed requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

import orjson

from twinplane.clock import Clock
from twinplane.sigv4 import Signer

if TYPE_CHECKING:
    from aiohttp import ClientSession

EC2_VERSION = "2016-11-15"
REQUEST_SECONDS = 30.0
FORM = "application/x-www-form-urlencoded; charset=utf-8"


class AwsError(Exception):
    """A refusal by the AWS API; `code` is AWS's, e.g. InsufficientFreeAddressesInSubnet."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Aws(Protocol):
    async def get(self, path: str, seconds: float = REQUEST_SECONDS) -> Any:
        """JSON of the region's own API. Raises `AwsError`, or `OSError` when there is no answer."""
        ...

    async def ec2(self, action: str, parameters: Mapping[str, str]) -> ElementTree.Element:
        """The answer with its tags freed of the namespace. Raises as `get`."""
        ...


class HttpAws:
    """`signer` gives the keys that count now, for a service by its signing name: those of an instance's role change."""

    def __init__(self, session: ClientSession, endpoint: str, signer: Callable[[str], Signer], clock: Clock) -> None:
        self._session = session
        self._endpoint = endpoint.rstrip("/")
        self._signer = signer
        self._clock = clock

    async def get(self, path: str, seconds: float = REQUEST_SECONDS) -> Any:
        status, body = await self._send("GET", self._endpoint + path, b"", {}, seconds)
        if status >= 400:
            raise AwsError(str(status), body[:500].decode(errors="replace"))
        return orjson.loads(body)

    async def ec2(self, action: str, parameters: Mapping[str, str]) -> ElementTree.Element:
        form = urlencode({"Action": action, "Version": EC2_VERSION, **parameters}).encode()
        status, body = await self._send("POST", self._endpoint + "/", form, {"Content-Type": FORM}, REQUEST_SECONDS)
        return parse_answer(status, body)

    async def post_json(self, service: str, path: str, content: Any) -> tuple[int, bytes]:
        """Status and body of a POST to a service that speaks rest-json. Raises OSError when there is no answer."""
        url, headers = self._endpoint + path, {"Content-Type": "application/json"}
        return await self._send("POST", url, orjson.dumps(content), headers, REQUEST_SECONDS, service=service)

    async def json_call(self, service: str, target: str, content: Any) -> Any:
        """The answer of a service that speaks AWS JSON 1.1 (ECR, say); `target` is its operation with its prefix.
        Raises as `get`."""
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target}
        body = orjson.dumps(content)
        status, answer = await self._send("POST", self._endpoint + "/", body, headers, REQUEST_SECONDS, service=service)
        found = _json_or_none(answer)
        if status >= 400 or found is None:
            code = str((found or {}).get("__type") or status)
            raise AwsError(code, str((found or {}).get("message") or answer[:500].decode(errors="replace")))
        return found

    async def _send(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], seconds: float, *, service: str = "ec2"
    ) -> tuple[int, bytes]:
        from aiohttp import ClientError
        from yarl import URL

        # As signed, so as sent: the URL must not be encoded once more.
        target = URL(url, encoded=True)
        signed = self._signer(service).headers(method, url, self._clock.now(), body=body, more=headers)
        try:
            async with asyncio.timeout(seconds):
                async with self._session.request(method, target, data=body or None, headers=signed) as answer:
                    return answer.status, await answer.read()
        except ClientError as error:
            raise ConnectionError(f"{urlsplit(url).path}: {error}") from error


def _json_or_none(body: bytes) -> Any:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def parse_answer(status: int, body: bytes) -> ElementTree.Element:
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise AwsError(str(status), body[:500].decode(errors="replace")) from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    if status >= 400:
        error_element = root.find(".//Error")
        found = error_element if error_element is not None else root
        raise AwsError(found.findtext("Code") or str(status), found.findtext("Message") or "")
    return root
