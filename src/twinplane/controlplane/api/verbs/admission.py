"""One write's way through the admission plugins: those that may change it first, those that only judge it last.

Between the two halves lies the validation of the type's own rules, as upstream has it. When a webhook or policy changed
the object, all plugins look at it once more.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Literal

from twinplane.controlplane.admission.contract import AdmissionPlugin, AdmissionRequest
from twinplane.controlplane.admission.plugin import Plugin
from twinplane.controlplane.api.runtime import Call, ServerRuntime
from twinplane.kubeclient.contract import Object

Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]
_SYSTEM_FIELDS = ("uid", "creationTimestamp")
_PLANS = 4096
"""Kinds of requests of which it is remembered whose plug-ins concern them; custom types come and go."""


class Admission:
    """`name` is given for creates, whose path has none; `generated` when the server has made it up."""

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
        generated: bool = False,
    ) -> None:
        name = name or call.name
        self._generated = generated
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
        self._runtime = call.runtime
        self._handling = _handling(call.runtime, self._request)

    async def admit(self) -> None:
        """May change the new object in place. Raises what a plugin refuses with."""
        for plugin in self._handling:
            await self._admit(plugin)
        if self._request.reinvocation.wanted:
            self._request.reinvocation.running = True
            for plugin in self._handling:
                await self._admit(plugin)

    async def _admit(self, plugin: AdmissionPlugin) -> None:
        request = self._request
        if request.operation != "CREATE" or not getattr(plugin, "precedes_naming", False) or request.object is None:
            await plugin.admit(request)
            return
        metadata = request.object.get("metadata") or {}
        hidden = (*_SYSTEM_FIELDS, "name") if self._generated else _SYSTEM_FIELDS
        withheld = {field: metadata.pop(field) for field in hidden if field in metadata}
        name = request.name
        if self._generated:
            request.name = ""
        try:
            await plugin.admit(request)
        finally:
            kept = {field: withheld[field] for field in _SYSTEM_FIELDS if field in withheld}
            request.object["metadata"] = {**withheld, **(request.object.get("metadata") or {}), **kept}
            request.name = str(request.object["metadata"].get("name") or name)

    @property
    def changed(self) -> bool:
        """By a webhook or policy."""
        return self._request.reinvocation.wanted

    async def validate(self) -> None:
        for plugin in self._handling:
            await plugin.validate(self._request)

    @property
    def mutates(self) -> bool:
        """A plugin may change the object."""
        return any(type(plugin).admit is not Plugin.admit for plugin in self._handling)

    async def state(self) -> Hashable | None:
        """Equal states mean equal verdicts on equal pods; None when that cannot be said of a plugin."""
        cache = self._runtime.cache
        found: list[Hashable] = []
        for plugin in self._handling:
            reads = plugin.reads if isinstance(plugin, Plugin) else None
            if reads is None or not isinstance(plugin, Plugin):
                return None
            found += (plugin.name, await plugin.state(self._request))
            found += [cache.collection(resource).revision for resource in reads]
        return tuple(found)

    async def run(self) -> None:
        """Both halves, for requests that no rules of a type come between."""
        await self.admit()
        await self.validate()


def _handling(runtime: ServerRuntime, request: AdmissionRequest) -> list[AdmissionPlugin]:
    key = (request.operation, request.resource, request.subresource, bool(request.namespace))
    plans = runtime.admission_plans
    plan = plans.get(key)
    if plan is None:
        if len(plans) >= _PLANS:
            plans.clear()
        plan = plans[key] = tuple(_plan(runtime.admission, request))
    return [plugin for plugin, is_asked in plan if not is_asked or plugin.handles(request)]


def _plan(plugins: Iterable[AdmissionPlugin], request: AdmissionRequest) -> Iterator[tuple[AdmissionPlugin, bool]]:
    """Without those that will never handle such a request; True: it must be asked every time."""
    for plugin in plugins:
        by_type = isinstance(plugin, Plugin) and plugin.by_type
        if not by_type or plugin.handles(request):
            yield plugin, not by_type
