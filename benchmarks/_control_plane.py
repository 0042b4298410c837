"""An API server in this process on a durable store: what benchmarks of its clients stand on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from twinplane.clock import SystemClock
from twinplane.controlplane.api.encoding import stamp
from twinplane.controlplane.api.server import ApiServer
from twinplane.controlplane.api.types.registry import built_in_types
from twinplane.controlplane.auth.contract import Authenticator
from twinplane.controlplane.cloudcontroller.node.feed import InstanceFeed
from twinplane.controlplane.composition import Foundation, api_server
from twinplane.controlplane.configuration import ControlPlaneConfiguration
from twinplane.controlplane.store.embedded import EmbeddedStore
from twinplane.testing.credentials import shared
from twinplane.testing.in_process import Kubelets


@asynccontextmanager
async def control_plane(directory: Path, authenticators: Sequence[Authenticator] = ()) -> AsyncIterator[ApiServer]:
    """With admission, authorization, fairness and what every cluster has, but no controllers and no listening."""
    clock = SystemClock()
    store = await EmbeddedStore.open(directory / "store.db", stamp=stamp, clock=clock)
    credentials = shared()
    foundation = Foundation(
        configuration=_configuration(directory),
        clock=clock,
        random=Random(1),
        store=store,
        registry=built_in_types("1.36").copy(),
        certificate_authority=credentials.authority,
        service_account_key=credentials.service_account_key,
        authenticators=lambda reader, grants: authenticators,
        kubelet=Kubelets(),
        feed=InstanceFeed(_nothing, "benchmark"),
        aws=None,
    )
    try:
        async with api_server(foundation) as server:
            yield server
    finally:
        await store.close()


async def _nothing(path: str) -> Any:
    return {}


def _configuration(directory: Path) -> ControlPlaneConfiguration:
    return ControlPlaneConfiguration(
        cluster="benchmark",
        version="1.36",
        region="us-west-2",
        account_id="123456789012",
        vpc_id="vpc-1",
        service_cidr="10.100.0.0/16",
        host="127.0.0.1",
        port=443,
        store=str(directory / "store.db"),
        issuer=f"https://oidc.eks.us-west-2.amazonaws.com/id/{'0' * 32}",
        ca_file="",
        ca_key_file="",
        certificate_file="",
        key_file="",
        kubelet_client_certificate_file="",
        kubelet_client_key_file="",
        service_account_key_file="",
        aws_endpoint="",
        aws_access_key_id="",
        aws_secret_access_key="",
        aws_session_token="",
    )
