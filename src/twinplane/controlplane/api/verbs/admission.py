"""One write's way through the admission plugins: those that may change it first, those that only judge it last.

Between the two halves lies the validation of the type's own rules, as upstream has it. When a webhook or policy changed
the object, all plugins look at it once more.
"""

from __future__ import annotations

from typing import Literal

from twinplane.controlplane.admission.contract import AdmissionRequest
from twinplane.controlplane.api.runtime import Call
from twinplane.kubeclient.contract import Object

Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]


class Admission:
    """`name` is given for creates, whose path has none."""

    def __init__(
        self,
        call: Call,
        operation: Operation,
        new: Object | None,
        old: Object | None,
        options: Object,
        *,
        dry_run: bool,
        name: str = "",
    ) -> None:
        name = name or call.name
        is_namespace = call.type.resource.plural == "namespaces" and not call.type.resource.group
        self._request = AdmissionRequest(
            operation,
            call.stored.resource,
            call.subresource,
            name if is_namespace else call.namespace,
            name,
            new,
            old,
            call.user,
            dry_run,
            options,
            call.warnings,
            call.annotations,
            requested=call.type.resource,
        )
        self._handling = [plugin for plugin in call.runtime.admission if plugin.handles(self._request)]

    async def admit(self) -> None:
        """May change the new object in place. Raises what a plugin refuses with."""
        for plugin in self._handling:
            await plugin.admit(self._request)
        if self._request.reinvocation.wanted:
            self._request.reinvocation.running = True
            for plugin in self._handling:
                await plugin.admit(self._request)

    @property
    def changed(self) -> bool:
        """By a webhook or policy."""
        return self._request.reinvocation.wanted

    async def validate(self) -> None:
        for plugin in self._handling:
            await plugin.validate(self._request)

    async def run(self) -> None:
        """Both halves, for requests that no rules of a type come between."""
        await self.admit()
        await self.validate()
