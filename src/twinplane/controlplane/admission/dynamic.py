"""Dynamic admission put together: policies and webhooks, in upstream's order, over one client and one CEL compiler.

The composition root makes one, hands `plugins` to `chain.default_plugins(webhooks=...)` and closes it at the end.
"""

from __future__ import annotations

from random import Random

from twinplane.controlplane.admission.contract import AdmissionPlugin, ObjectReader
from twinplane.controlplane.admission.policies.checking import AdmissionConfiguration
from twinplane.controlplane.admission.policies.mutating import MutatingAdmissionPolicy
from twinplane.controlplane.admission.policies.validating import ValidatingAdmissionPolicy
from twinplane.controlplane.admission.webhooks.client import WebhookClient
from twinplane.controlplane.admission.webhooks.dispatch import Webhooks
from twinplane.controlplane.admission.webhooks.expressions import Compiler
from twinplane.controlplane.admission.webhooks.mutating import MutatingAdmissionWebhook
from twinplane.controlplane.admission.webhooks.validating import ValidatingAdmissionWebhook
from twinplane.controlplane.api.extensions.dialing import EndpointResolver, ServiceResolver
from twinplane.controlplane.api.types.contract import TypeRegistry, TypeRules
from twinplane.controlplane.auth.contract import Authorizer


class DynamicAdmission:
    """`resolve` says where a Service's port is reached from here; by default at one of its ready endpoints."""

    def __init__(
        self,
        reader: ObjectReader,
        registry: TypeRegistry,
        rules: TypeRules,
        authorizer: Authorizer,
        random: Random,
        *,
        resolve: ServiceResolver | None = None,
    ) -> None:
        self._client = WebhookClient(resolve or EndpointResolver(reader, random))
        compiler = Compiler(authorizer)
        parts = Webhooks(reader, registry, rules, compiler, self._client, random)
        self.plugins: tuple[AdmissionPlugin, ...] = (
            MutatingAdmissionPolicy(parts),
            MutatingAdmissionWebhook(parts),
            ValidatingAdmissionPolicy(parts),
            ValidatingAdmissionWebhook(parts),
            AdmissionConfiguration(compiler),
        )

    async def close(self) -> None:
        await self._client.close()
