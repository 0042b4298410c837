"""Deciding whether one webhook is called, calling it, and what its failure policy makes of a failure.

`mutating` and `validating` differ in order and in what they do with the answer; this is what they share.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from random import Random
from uuid import UUID

from twinplane.controlplane.admission.contract import AdmissionRequest, ObjectReader
from twinplane.controlplane.admission.webhooks import refusals
from twinplane.controlplane.admission.webhooks.attributes import Attributes, Versions, review_request
from twinplane.controlplane.admission.webhooks.client import CallFailed, WebhookClient
from twinplane.controlplane.admission.webhooks.conditions import ConditionFailed
from twinplane.controlplane.admission.webhooks.configuration import Hook
from twinplane.controlplane.admission.webhooks.expressions import Compiler, activation
from twinplane.controlplane.admission.webhooks.matching import EquivalentResources, is_exempt
from twinplane.controlplane.api.types.contract import TypeRegistry, TypeRules
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import forbidden

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Webhooks:
    """What both plugins are made of. `random` makes the reviews' uids."""

    reader: ObjectReader
    registry: TypeRegistry
    rules: TypeRules
    compiler: Compiler
    client: WebhookClient
    random: Random

    def dispatcher(self, *, mutating: bool) -> Dispatcher:
        return Dispatcher(self, mutating=mutating)


class Dispatcher:
    def __init__(self, parts: Webhooks, *, mutating: bool) -> None:
        self._parts = parts
        self._mutating = mutating
        self._equivalents = EquivalentResources(parts.registry)
        self.versions = Versions(parts.registry, parts.rules)

    def attributes(self, hook: Hook, request: AdmissionRequest) -> Attributes | None:
        """The request as the hook wants to see it, None when it does not. Raises `ApiError`."""
        if is_exempt(request.resource):
            return None
        resource = hook.match.resource(request, self._parts.reader, self._equivalents)
        if resource is None:
            return None
        attributes = self.versions.attributes(request, resource)
        if hook.conditions:
            try:
                if not hook.conditions.hold(activation(attributes)):
                    return None
            except ConditionFailed as error:
                raise forbidden(request.resource.group, request.resource.plural, request.name, str(error)) from None
        if request.dry_run and hook.has_side_effects:
            raise refusals.no_dry_run(hook)
        return attributes

    async def call(self, hook: Hook, attributes: Attributes, annotation: str) -> Object | None:
        """The answer of a webhook that said yes; None when it failed and may. Raises `ApiError`."""
        request = attributes.request
        uid = str(UUID(int=self._parts.random.getrandbits(128), version=4))
        body = review_request(attributes, uid)
        body["object"], body["oldObject"] = attributes.object, attributes.old
        try:
            response = await self._parts.client.call(hook, body, mutating=self._mutating)
        except CallFailed as error:
            if not hook.fails_open:
                raise refusals.failed(hook, str(error)) from None
            _log.warning("failed calling webhook %s, failing open: %s", hook.name, error)
            request.annotations[f"failed-open.{annotation}"] = hook.name
            return None
        for key, value in (response.get("auditAnnotations") or {}).items():
            request.annotations[f"{hook.name}/{key}"] = str(value)
        request.warnings += [str(text) for text in response.get("warnings") or ()]
        if not response.get("allowed"):
            raise refusals.denied(hook, response.get("status"))
        return response
