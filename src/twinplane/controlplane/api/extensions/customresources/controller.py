"""Follows the CustomResourceDefinitions: serves their types, keeps their status, empties those that are deleted.

Serving is synchronous with the API server's own cache: whoever sees a definition established can use its type, in
every replica and after a restart. Status and deletion are written by a loop, which any number of replicas may run:
every write names the revision it was computed from.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from twinplane.clock import rfc3339
from twinplane.controlplane.api.extensions.customresources import definition as definitions
from twinplane.controlplane.api.extensions.customresources import installation
from twinplane.controlplane.api.extensions.customresources.values import canonical
from twinplane.controlplane.api.objects.entry import Entry
from twinplane.controlplane.api.objects.selection import Selection
from twinplane.controlplane.api.runtime import ServerRuntime
from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import copied
from twinplane.kubeclient.resources import CUSTOM_RESOURCE_DEFINITIONS as DEFINITIONS

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
EMPTYING_SECONDS = 0.2
"""Between looks at the objects of a definition that is being deleted: finalizers may hold them for long."""
MakeConverter = Callable[[Object], Any]
"""A definition with conversion strategy Webhook -> its converter."""


class CustomResources:
    """`start` after the cache's; then `run` for the life of the server."""

    def __init__(self, runtime: ServerRuntime, client: KubeClient, make_converter: MakeConverter | None = None) -> None:
        self._cache = runtime.cache
        self._registry = runtime.registry
        self._rules = runtime.rules
        self._clock = runtime.clock
        self._client = client
        self._make_converter = make_converter
        self._installed: dict[str, _Installed] = {}
        self._queued: dict[str, None] = {}
        self._wake = asyncio.Event()
        self.changed: Callable[[], None] = lambda: None
        """Called when types came or went."""

    def start(self) -> None:
        """Serve what is established already, and follow from here on."""
        self._cache.listen(DEFINITIONS, self._changed)
        for entry in self._cache.collection(DEFINITIONS).select(Selection()):
            self._changed(entry.name, entry)

    def _changed(self, name: str, entry: Entry | None) -> None:
        if entry is None:
            self._remove(name)
            self._ask(*self._installed)
        else:
            try:
                self._install(name, entry.object, entry.revision)
            except Exception:  # The boundary to the cache, which must follow on whatever is stored
                log.exception("custom resource definition %s cannot be served", name)
        self._ask(name)

    def _ask(self, *names: str) -> None:
        self._queued.update(dict.fromkeys(names))
        self._wake.set()

    # Serving

    def _install(self, name: str, definition: Object, revision: int) -> None:
        shape = _shape(definition)
        known = self._installed.get(name)
        if known is not None and known.shape == shape:
            return
        webhook = (definition["spec"].get("conversion") or {}).get("strategy") == "Webhook"
        converter = self._make_converter(definition) if webhook and self._make_converter else None
        served, stored = installation.types_of(definition, self._registry.definitions, converter)
        before = {} if known is None else {each.resource.version: each.resource for each in known.served}
        for each in served:
            before.pop(each.resource.version, None)
            self._registry.register(each)
        for resource in before.values():
            self._registry.unregister(resource)
        self._installed[name] = _Installed(shape, served, stored)
        self.changed()
        if stored is not None:
            resource = stored.resource
            self._rules.converters.pop((resource.group, resource.kind), None)
            if converter is not None:
                self._rules.converters[resource.group, resource.kind] = converter
            self._cache.normalise(resource, _Normalise(stored, converter, revision))

    def _remove(self, name: str) -> None:
        known = self._installed.pop(name, None)
        if known is None:
            return
        for each in known.served:
            self._registry.unregister(each.resource)
        self.changed()
        if known.stored is not None:
            resource = known.stored.resource
            self._rules.converters.pop((resource.group, resource.kind), None)
            self._cache.normalise(resource, None)
            self._cache.hub(resource).close()

    # Status and deletion

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queued:
                name = next(iter(self._queued))
                del self._queued[name]
                try:
                    await self._sync(name)
                except ApiError as error:
                    if error.reason not in ("Conflict", "NotFound"):
                        log.warning("custom resource definition %s: %s", name, error)
                        self._later(name, RETRY_SECONDS)
                except Exception:  # The boundary of this task: one definition must not stop the others
                    log.exception("custom resource definition %s", name)
                    self._later(name, RETRY_SECONDS)

    def _later(self, name: str, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._ask, name)

    async def _sync(self, name: str) -> None:
        entry = self._cache.get(DEFINITIONS, "", name)
        if entry is None:
            return
        if entry.object["metadata"].get("deletionTimestamp"):
            if definitions.CLEANUP in (entry.object["metadata"].get("finalizers") or ()):
                await self._empty(entry)
            return
        everything = [each.object for each in self._cache.collection(DEFINITIONS).select(Selection())]
        status = definitions.next_status(entry.object, everything, rfc3339(self._clock.now()))
        if status is not None:
            renamed = status.get("acceptedNames") != (entry.object.get("status") or {}).get("acceptedNames")
            await self._write(entry, status)
            if renamed:
                group = definitions.in_group(everything, entry.object["spec"]["group"])
                self._ask(*(other["metadata"]["name"] for other in group if other["metadata"]["name"] != name))

    async def _write(self, entry: Entry, status: Object) -> None:
        await self._client.update(DEFINITIONS, {**entry.parsed(), "status": status}, subresource="status")

    async def _empty(self, entry: Entry) -> None:
        """Delete all objects; without any left, let the definition go."""
        known = self._installed.get(entry.name)
        left: list[Entry] = []
        if known is not None and known.stored is not None and known.served:
            collection = self._cache.collection(known.stored.resource)
            for namespace in sorted({each.namespace for each in collection.select(Selection())}):
                await self._client.delete_collection(known.served[0].resource, namespace or None)
            left = collection.select(Selection())
        if left:
            await self._tell(entry, "InstanceDeletionInProgress", "CustomResource deletion is in progress")
            self._later(entry.name, EMPTYING_SECONDS)
            return
        definition = copied(entry.object)
        remaining = [each for each in definition["metadata"]["finalizers"] if each != definitions.CLEANUP]
        definition["metadata"]["finalizers"] = remaining
        await self._client.update(DEFINITIONS, definition)

    async def _tell(self, entry: Entry, reason: str, message: str) -> None:
        if (definitions.condition(entry.object, "Terminating") or {}).get("reason") == reason:
            return
        now = rfc3339(self._clock.now())
        status = definitions.terminating(entry.object, reason, message, now)
        await self._write(entry, status)


class _Installed:
    __slots__ = ("served", "shape", "stored")

    def __init__(self, shape: bytes, served: list[ResourceType], stored: ResourceType | None) -> None:
        self.shape = shape
        self.served = served
        self.stored = stored


class _Normalise:
    """Shows objects that an earlier version of the definition let in as the present one would have stored them."""

    def __init__(self, stored: ResourceType, converter: Any, since: int) -> None:
        self._since = since
        self._api_version = stored.resource.api_version
        self._behaviour = stored.extra["behaviour"]
        self._converts = converter is None
        # Compiled here, where a schema that cannot be is caught.
        self._behaviour.default({})

    def __call__(self, body: Object) -> bool:
        """In place; True when something changed."""
        if int(body["metadata"].get("resourceVersion") or 0) > self._since:
            return False
        changed = bool(self._behaviour.default(body))
        if self._converts and body.get("apiVersion") != self._api_version:
            body["apiVersion"] = self._api_version
            changed = True
        return changed


def _shape(definition: Object) -> bytes:
    """Everything that its types are made of."""
    status = definition.get("status") or {}
    return canonical(
        [
            definition["spec"],
            status.get("acceptedNames"),
            definitions.is_true(definition, "Established"),
            bool(definition["metadata"].get("deletionTimestamp")),
        ]
    )
