"""One control-plane process: the foundation from its configuration and its region, the parts on top, a port to serve.

The API server answers before the controllers run, and is ready (`/readyz`) as soon as the objects that every cluster
has are there.
"""

from __future__ import annotations

import logging
import ssl
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from twinplane.clock import Clock
from twinplane.controlplane.api import heap
from twinplane.controlplane.api.extensions.dialing import Reach
from twinplane.controlplane.api.http.server import serve
from twinplane.controlplane.api.kubelet import KubeletClient
from twinplane.controlplane.api.types.registry import built_in_types
from twinplane.controlplane.auth.pod_identity_associations import PodIdentityAssociations
from twinplane.controlplane.auth.sts import StsIdentify
from twinplane.controlplane.cloudcontroller.node.feed import InstanceFeed
from twinplane.controlplane.composition import Control, Foundation, api_server
from twinplane.controlplane.configuration import ControlPlaneConfiguration
from twinplane.controlplane.election import ElectedControl
from twinplane.controlplane.identity import iam_authenticator, service_account_key
from twinplane.controlplane.region_api import RegionApi
from twinplane.controlplane.storage import opened_store
from twinplane.controlplane.store.contract import Store
from twinplane.edge import Edges
from twinplane.sigv4 import Signer

log = logging.getLogger(__name__)


class ControlPlane:
    def __init__(self, configuration: ControlPlaneConfiguration, clock: Clock, random: Random) -> None:
        self._configuration = configuration
        self._clock = clock
        self._random = random

    async def run(self) -> None:
        """Until cancelled."""
        configuration, clock = self._configuration, self._clock
        region_api = RegionApi(configuration.aws_endpoint, _signer(configuration), clock)
        sts = StsIdentify(configuration.aws_endpoint)
        reach = _reach(configuration)
        kubelet = KubeletClient(_kubelet_context(configuration), reach)
        try:
            async with opened_store(configuration, clock) as store:
                await self._serve(self._foundation(store, region_api, sts, kubelet, reach))
        finally:
            await kubelet.close()
            await sts.close()
            await region_api.close()

    def _foundation(
        self, store: Store, region_api: RegionApi, sts: StsIdentify, kubelet: KubeletClient, reach: Reach
    ) -> Foundation:
        configuration = self._configuration
        feed = InstanceFeed(region_api.get, configuration.cluster)
        return Foundation(
            configuration=configuration,
            clock=self._clock,
            random=self._random,
            store=store,
            registry=built_in_types(configuration.version),
            certificate_authority=configuration.certificate_authority(),
            service_account_key=service_account_key(Path(configuration.service_account_key_file)),
            authenticators=partial(
                iam_authenticator, configuration, region_api=region_api, sts=sts, feed=feed, clock=self._clock
            ),
            kubelet=kubelet,
            feed=feed,
            aws=BotocoreClients(configuration),
            is_associated=PodIdentityAssociations(configuration.cluster, region_api.eks, self._clock),
            reach=reach,
        )

    async def _serve(self, foundation: Foundation) -> None:
        configuration = self._configuration
        async with api_server(foundation) as handler:
            replicated = configuration.replicas > 1
            context = _server_context(configuration)
            server = await serve(handler, configuration.host, configuration.port, context, shared=replicated)
            log.info("cluster %s: API server at %s", configuration.cluster, configuration.url)
            heap.settle()
            try:
                control = ElectedControl(handler, foundation) if replicated else Control(handler, foundation)
                await control.run()
            finally:
                await server.close()


class BotocoreClients:
    """Clients of the region's endpoint with the cluster's keys; botocore is imported with the first one."""

    def __init__(self, configuration: ControlPlaneConfiguration) -> None:
        self._configuration = configuration
        self._session: Any = None
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        if service not in self._clients:
            import botocore.session

            self._session = self._session or botocore.session.Session()
            self._clients[service] = self._session.create_client(
                service,
                region_name=self._configuration.region,
                endpoint_url=self._configuration.aws_endpoint,
                aws_access_key_id=self._configuration.aws_access_key_id,
                aws_secret_access_key=self._configuration.aws_secret_access_key,
                aws_session_token=self._configuration.aws_session_token,
            )
        return self._clients[service]


def _signer(configuration: ControlPlaneConfiguration) -> Signer:
    return Signer(
        configuration.aws_access_key_id,
        configuration.aws_secret_access_key,
        configuration.aws_session_token,
        configuration.region,
        "eks",
    )


def _server_context(configuration: ControlPlaneConfiguration) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(configuration.certificate_file, configuration.key_file)
    context.load_verify_locations(configuration.ca_file)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _reach(configuration: ControlPlaneConfiguration) -> Reach:
    edges = Edges(Path(configuration.edges_file))
    return lambda address: edges.to_host(configuration.vpc_id, address) or address


def _kubelet_context(configuration: ControlPlaneConfiguration) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=configuration.ca_file)
    # Kubelets are reached at addresses of this host, not at those that their certificates name; the chain is verified.
    context.check_hostname = False
    context.load_cert_chain(configuration.kubelet_client_certificate_file, configuration.kubelet_client_key_file)
    return context
