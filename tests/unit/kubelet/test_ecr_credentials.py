"""The node's password for ECR: asked for once, again when half of its life is over, and shown to nobody but ECR."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from twinplane.dataplane.aws import AwsError
from twinplane.dataplane.kubelet.images.ecr import EcrCredentials
from twinplane.dataplane.kubelet.images.names import parse_image
from twinplane.testing.virtual_time import VirtualClock, virtual_time

HOURS = 3600.0
ECR = "123456789012.dkr.ecr.us-west-2.amazonaws.com"


class Ecr:
    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.issued = 0
        self.refusal: AwsError | None = None

    async def json_call(self, service: str, target: str, content: Any) -> Any:
        assert (service, target.rpartition(".")[2], content) == ("ecr", "GetAuthorizationToken", {})
        if self.refusal is not None:
            raise self.refusal
        self.issued += 1
        token = base64.b64encode(f"AWS:password-{self.issued}".encode()).decode()
        return {"authorizationData": [{"authorizationToken": token, "expiresAt": self._clock.now() + 12 * HOURS}]}


@virtual_time
async def test_a_password_is_kept_for_half_of_its_life(clock: VirtualClock) -> None:
    ecr = Ecr(clock)
    credentials = EcrCredentials(ecr, clock)
    image = parse_image(f"{ECR}/app:1")
    for _ in range(2):
        found = await credentials(image)
        assert found is not None
        assert (found.username, found.password, ecr.issued) == ("AWS", "password-1", 1)
    await asyncio.sleep(6 * HOURS)
    found = await credentials(image)
    assert found is not None
    assert found.password == "password-2"


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (f"{ECR}/app", True),
        ("602401143452.dkr.ecr-fips.us-east-1.amazonaws.com/eks/coredns", True),
        ("localhost:4566/app", True),
        ("nginx", False),
        ("quay.io/a/b", False),
        (f"{ECR}.example.com/app", False),
    ],
)
@virtual_time
async def test_only_ecr_is_shown_it(clock: VirtualClock, image: str, expected: bool) -> None:
    assert (await EcrCredentials(Ecr(clock), clock)(parse_image(image)) is not None) is expected


@virtual_time
async def test_a_refusal_leaves_the_pull_without_a_password(clock: VirtualClock) -> None:
    ecr = Ecr(clock)
    ecr.refusal = AwsError("AccessDeniedException", "not you")
    credentials = EcrCredentials(ecr, clock)
    assert await credentials(parse_image(f"{ECR}/app")) is None
    ecr.refusal = None
    assert await credentials(parse_image(f"{ECR}/app")) is not None
