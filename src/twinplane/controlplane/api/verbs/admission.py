"""One write's way through the admission plugins: those that may change it first, those that only judge it last.

Between the two halves lies the validation of the type's own rules, as upstream has it. When a webhook or policy changed
the object, all plugins look at it once more.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Literal, NamedTuple

from twinplane.controlplane.admission.contract import AdmissionPlugin, AdmissionRequest
from twinplane.controlplane.admission.plugin import Plugin
from twinplane.controlplane.api.objects.collection import Collection
from twinplane.controlplane.api.runtime import Call, ServerRuntime
from twinplane.kubeclient.contract import Object

Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]
_SYSTEM_FIELDS = ("uid", "creationTimestamp")
_PLANS = 4096
"""Kinds of requests of which it is remembered whose plug-ins concern them; custom types come and go."""


class Step(NamedTuple):
    """What is known of a plugin for a kind of request before any of them comes."""

    plugin: AdmissionPlugin
    is_asked: bool
    """Every time, whether it handles the request."""
    waits_for: tuple[Collection, ...]
    """While one of these is empty there is nothing to ask for."""
    mutates: bool
    reads: tuple[Collection, ...] | None
    has_state: bool
    """Beyond the objects that it reads."""


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
        for step in self._handling:
            if step.mutates:
                await self._admit(step.plugin)
        if self._request.reinvocation.wanted:
            self._request.reinvocation.running = True
            for step in self._handling:
                if step.mutates:
                    await self._admit(step.plugin)

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
        for step in self._handling:
            await step.plugin.validate(self._request)

    @property
    def mutates(self) -> bool:
        """A plugin may change the object."""
        return any(step.mutates for step in self._handling)

    async def state(self) -> Hashable | None:
        """Equal states mean equal verdicts on equal pods; None when that cannot be said of a plugin."""
        found: list[Hashable] = []
        for step in self._handling:
            if step.reads is None:
                return None
            found.append(step.plugin.name)
            if step.has_state and isinstance(step.plugin, Plugin):
                found.append(await step.plugin.state(self._request))
            found += [collection.revision for collection in step.reads]
        return tuple(found)

    async def run(self) -> None:
        """Both halves, for requests that no rules of a type come between."""
        await self.admit()
        await self.validate()


def _handling(runtime: ServerRuntime, request: AdmissionRequest) -> list[Step]:
    key = (request.operation, request.resource, request.subresource, bool(request.namespace))
    plans = runtime.admission_plans
    plan = plans.get(key)
    if plan is None:
        if len(plans) >= _PLANS:
            plans.clear()
        plan = plans[key] = tuple(_plan(runtime, request))
    return [step for step in plan if not step.is_asked or (all(step.waits_for) and step.plugin.handles(request))]


def _plan(runtime: ServerRuntime, request: AdmissionRequest) -> Iterator[Step]:
    """Without the plugins that will never handle such a request."""
    collection = runtime.cache.collection
    for plugin in runtime.admission:
        if not isinstance(plugin, Plugin):
            yield Step(plugin, True, (), True, None, False)
        elif not plugin.by_type or plugin.handles(request):
            kind = type(plugin)
            yield Step(
                plugin,
                is_asked=not plugin.by_type,
                waits_for=tuple(map(collection, plugin.waits_for)),
                mutates=kind.admit is not Plugin.admit,
                reads=None if plugin.reads is None else tuple(map(collection, plugin.reads)),
                has_state=kind.state is not Plugin.state,
            )
