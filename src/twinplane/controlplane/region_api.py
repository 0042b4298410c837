"""The few things a control plane asks of its region over HTTP: access entries (EKS) and the feed of instances.

A botocore client would cost the process tens of megabytes for three GET requests, so these are signed and sent here;
the load balancers of the cloud controller, which need many calls, do use botocore. aiohttp is imported on first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from twinplane.clock import Clock
from twinplane.sigv4 import Signer

if TYPE_CHECKING:
    import aiohttp

ANSWER_SECONDS_MAX = 60.0
"""The feed's polls are held for 30."""

_EKS_PATHS = {
    "DescribeCluster": "/clusters/{name}",
    "ListAccessEntries": "/clusters/{clusterName}/access-entries",
    "DescribeAccessEntry": "/clusters/{clusterName}/access-entries/{principalArn}",
    "ListPodIdentityAssociations": "/clusters/{clusterName}/pod-identity-associations",
    "ListAssociatedAccessPolicies": "/clusters/{clusterName}/access-entries/{principalArn}/access-policies",
}


class RegionRefused(OSError):
    """The region answered with an error, or not at all."""


class RegionApi:
    """Signs as the control plane's service-linked role."""

    def __init__(self, endpoint: str, signer: Signer, clock: Clock) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._signer = signer
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def eks(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """One of the read operations of `_EKS_PATHS`, with the parameter names of the EKS API."""
        named = {name: quote(str(value), safe="") for name, value in parameters.items()}
        path = _EKS_PATHS[operation].format(**named)
        token = parameters.get("nextToken")
        return await self.get(path + ("?" + urlencode({"nextToken": token}) if token else ""))

    async def get(self, path: str) -> dict[str, Any]:
        """Raises `RegionRefused`."""
        import aiohttp
        from yarl import URL

        if self._session is None:
            self._session = aiohttp.ClientSession()
        url = self._endpoint + path
        headers = self._signer.headers("GET", url, self._clock.now())
        limit = aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX)
        try:
            # The path is signed as it stands: it must not be encoded once more on the way.
            async with self._session.get(URL(url, encoded=True), headers=headers, timeout=limit) as answer:
                if answer.status != 200:
                    raise RegionRefused(f"GET {path}: {answer.status} {(await answer.text())[:300]}")
                body: dict[str, Any] = await answer.json(content_type=None)
                return body
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RegionRefused(f"GET {path}: {error}") from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
