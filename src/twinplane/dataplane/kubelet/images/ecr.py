"""What the node itself shows Amazon ECR: the kubelet's credential provider of EKS nodes (ecr-credential-provider).

A password of GetAuthorizationToken, asked for with the role of the node, for the names that EKS's images configure the
provider for. The region's registry also answers for names of the host itself (`localhost:4566/app`): that is the same
ECR. Without an answer the pull goes on without a password, as the kubelet does when a provider fails.
"""

from __future__ import annotations

import base64
import binascii
import logging
import re
from typing import Any, Protocol

from cri_api.v1 import api_pb2 as cri

from twinplane.clock import Clock
from twinplane.dataplane.aws import AwsError
from twinplane.dataplane.kubelet.images.names import ImageName

log = logging.getLogger(__name__)

MATCH = re.compile(
    r"\d{12}\.dkr[.-]ecr(-fips)?\.[a-z0-9-]+\.(amazonaws\.com(\.cn)?|on\.aws)|(localhost|127\.0\.0\.1)(:\d+)?"
)
TARGET = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"
KEPT_SHARE = 0.5
"""Of a password's life, as the provider tells the kubelet to keep it."""


class JsonCalls(Protocol):
    async def json_call(self, service: str, target: str, content: Any) -> Any:
        """`HttpAws`."""
        ...


class EcrCredentials:
    def __init__(self, aws: JsonCalls, clock: Clock) -> None:
        self._aws = aws
        self._clock = clock
        self._kept: cri.AuthConfig | None = None
        self._kept_until = 0.0

    async def __call__(self, image: ImageName) -> cri.AuthConfig | None:
        if not MATCH.fullmatch(image.registry):
            return None
        now = self._clock.now()
        if self._kept is None or now >= self._kept_until:
            try:
                self._kept, expiration = await self._fetched()
            except (AwsError, OSError, LookupError, ValueError) as error:
                log.warning("no credentials for %s: %s", image.registry, error)
                return None
            self._kept_until = now + (expiration - now) * KEPT_SHARE
        return self._kept

    async def _fetched(self) -> tuple[cri.AuthConfig, float]:
        answer = await self._aws.json_call("ecr", TARGET, {})
        found = answer["authorizationData"][0]
        try:
            user, _, password = base64.b64decode(found["authorizationToken"]).decode().partition(":")
        except binascii.Error as error:
            raise ValueError(str(error)) from error
        return cri.AuthConfig(username=user, password=password), float(found["expiresAt"])
