"""ValidatingAdmissionWebhook: all that are concerned are called at the same time; any of them may refuse."""

from __future__ import annotations

import asyncio

from twinplane.controlplane.admission.contract import AdmissionRequest
from twinplane.controlplane.admission.plugin import Plugin
from twinplane.controlplane.admission.webhooks.configuration import VALIDATING, Hooks
from twinplane.controlplane.admission.webhooks.dispatch import Webhooks
from twinplane.kubeclient.errors import ApiError


class ValidatingAdmissionWebhook(Plugin):
    name = "ValidatingAdmissionWebhook"
    waits_for = (VALIDATING,)

    def __init__(self, parts: Webhooks) -> None:
        self._hooks = Hooks(parts.reader, VALIDATING, parts.compiler)
        self._dispatcher = parts.dispatcher(mutating=False)

    def handles(self, request: AdmissionRequest) -> bool:
        return bool(self._hooks.current())

    async def validate(self, request: AdmissionRequest) -> None:
        """With several refusals, the first in order is told."""
        calls = []
        for hook in self._hooks.current():
            attributes = self._dispatcher.attributes(hook, request)
            if attributes is not None:
                calls.append((hook, attributes))
        tasks: list[asyncio.Task[object]] = []
        try:
            for index, (hook, attributes) in enumerate(calls):
                annotation = f"validating.webhook.admission.k8s.io/round_0_index_{index}"
                tasks.append(asyncio.create_task(self._dispatcher.call(hook, attributes, annotation)))
            results = await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for task in tasks:
                task.cancel()
        refused = [result for result in results if isinstance(result, BaseException)]
        for error in (*(each for each in refused if not isinstance(each, ApiError)), *refused):
            raise error
