"""Custom resources and aggregated APIs of one API server, put together. Every replica has its own.

The composition root makes it once the server is there, and keeps `running` around what uses the server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random

from twinplane.controlplane.admission.contract import ObjectReader
from twinplane.controlplane.api.extensions.aggregation.services import Aggregator, OwnGroup
from twinplane.controlplane.api.extensions.customresources.controller import CustomResources
from twinplane.controlplane.api.extensions.customresources.conversion import WebhookConverter
from twinplane.controlplane.api.extensions.dialing import Dialer, EndpointResolver, ServiceResolver
from twinplane.controlplane.api.server import ApiServer
from twinplane.controlplane.background import background
from twinplane.kubeclient.contract import KubeClient

Certificate = Callable[[], tuple[str, str]]
"""Makes the certificate for aggregated servers: paths of it and of its key, in a folder of their own."""


class ApiExtensions:
    """`client` acts for the server itself. `resolve` finds the address of a Service; by default its endpoints'.

    `own` are aggregated groups, by name of their APIService, that a part of this process answers for.
    """

    def __init__(
        self,
        server: ApiServer,
        client: KubeClient,
        reader: ObjectReader,
        *,
        certificate: Certificate | None = None,
        resolve: ServiceResolver | None = None,
        random: Random | None = None,
        own: Mapping[str, OwnGroup] | None = None,
    ) -> None:
        runtime = server.runtime
        random = random or runtime.random
        self._server = server
        self._dialer = Dialer(resolve or EndpointResolver(reader, random), certificate)
        self.aggregator = Aggregator(
            runtime.cache, runtime.registry, client, runtime.clock, self._dialer, own=own or {}
        )
        self.custom_resources = CustomResources(
            runtime, client, lambda definition: WebhookConverter(definition, self._dialer, random)
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve what is established already before anything else; follow changes until the end."""
        self.custom_resources.changed = self.aggregator.refresh
        self.custom_resources.start()
        self.aggregator.start()
        self._server.aggregator = self.aggregator
        try:
            async with background(custom_resources=self.custom_resources.run, aggregated_APIs=self.aggregator.run):
                yield
        finally:
            await self._dialer.close()
