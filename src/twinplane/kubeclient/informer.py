"""Informers: list a type once, follow it by watch, and keep a local copy that is cheap to ask.

The composition root makes one `SharedInformers` a process; a node makes single `SharedInformer`s with selectors. The
watch resumes where it ended, whoever ended it; only a revision that the server has forgotten (410) costs a new list,
which is compared with what is held, so handlers see differences and nothing twice. There is no periodic resync: an
idle informer does nothing at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from random import Random

from twinplane.kubeclient.contract import KubeClient, Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.informer_contract import Handler, IndexFunction
from twinplane.kubeclient.meta import name_of, namespace_of

log = logging.getLogger(__name__)

PAGE = 500
"""Objects a list request: a page is decoded between turns of the loop, 100,000 objects at once would block it."""
BACKOFF_SECONDS = (0.8, 2.5)
"""First and longest pause after a failure, doubling, as client-go's reflector; that waits up to half a minute, for the
sake of a server that thousands of nodes come back to, where here one process stands for them all."""

Objects = list[Object]
_Key = tuple[str, str]


class _Index:
    """Value -> keys, in the order of arrival (dictionaries as ordered sets)."""

    def __init__(self, function: IndexFunction) -> None:
        self._function = function
        self._keys: dict[str, dict[_Key, None]] = {}

    def move(self, key: _Key, old: Object | None, new: Object | None) -> None:
        found_before = self._function(old) if old is not None else ()
        found_after = self._function(new) if new is not None else ()
        if found_before == found_after:
            # Most changes touch no index.
            return
        before, after = set(found_before), dict.fromkeys(found_after)
        for value in before:
            if value not in after:
                keys = self._keys[value]
                del keys[key]
                if not keys:
                    del self._keys[value]
        for value in after:
            if value not in before:
                self._keys.setdefault(value, {})[key] = None

    def keys(self, value: str) -> dict[_Key, None]:
        return self._keys.get(value, {})


class SharedInformer:
    """An `Informer`. `run` keeps it; selectors narrow what it holds (the pods of one node, say)."""

    def __init__(
        self,
        client: KubeClient,
        resource: Resource,
        random: Random | None = None,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        transform: Callable[[Object], Object] | None = None,
    ) -> None:
        """`transform` makes of each object what is kept and handed on (client-go's `SetTransform`)."""
        self.resource = resource
        self._transform = transform
        self._client = client
        self._random = random or Random(0)
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._objects: dict[_Key, Object] = {}
        self._indexes: dict[str, _Index] = {}
        self._handlers: list[Handler] = []
        self._version = ""
        self._synced = asyncio.Event()
        self._failures = 0

    # -- reading -------------------------------------------------------------------------------------------------

    def get(self, name: str, namespace: str = "") -> Object | None:
        return self._objects.get((namespace, name))

    def list(self, namespace: str = "") -> Objects:
        if not namespace:
            return list(self._objects.values())
        self.add_index("namespace", lambda body: (namespace_of(body),))
        return self.by_index("namespace", namespace)

    def add_index(self, index: str, function: IndexFunction) -> None:
        if index in self._indexes:
            return
        made = self._indexes[index] = _Index(function)
        for key, body in self._objects.items():
            made.move(key, None, body)

    def by_index(self, index: str, value: str) -> Objects:
        return [self._objects[key] for key in self._indexes[index].keys(value)]

    def add_handler(self, handler: Handler) -> None:
        self._handlers.append(handler)
        for body in list(self._objects.values()):
            handler(None, body)

    @property
    def is_empty(self) -> bool:
        return not self._objects

    @property
    def synced(self) -> bool:
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        await self._synced.wait()

    # -- keeping up ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                if not self._version:
                    await self._relist()
                await self._follow()
                # A server that ends every watch at once must not make this spin.
                pause = 0.0 if self._failures == 0 else self._backoff()
            except ApiError as error:
                pause = self._after_refusal(error)
            except Exception as error:
                # The boundary of the informer's task: whatever broke the connection, its readers need it back.
                log.warning("watch of %s: %s: %s", self.resource.plural, type(error).__name__, error)
                log.debug("watch of %s broke", self.resource.plural, exc_info=True)
                pause = self._backoff()
            if pause:
                await asyncio.sleep(pause)

    def _after_refusal(self, error: ApiError) -> float:
        if error.code == 410:
            self._version = ""
            return 0.0 if self._failures == 0 else self._backoff()
        if error.code == 404:
            # The type is gone (its CustomResourceDefinition was deleted): so are its objects.
            self._version = ""
            self._drop_except({})
            self._synced.set()
        log.log(
            logging.DEBUG if error.code in (404, 429, 503) else logging.WARNING,
            "watch of %s: %s",
            self.resource.plural,
            error,
        )
        return self._backoff()

    def _backoff(self) -> float:
        first, longest = BACKOFF_SECONDS
        pause: float = min(first * 2**self._failures, longest)
        self._failures = min(self._failures + 1, 16)
        return pause * (1 + self._random.random())

    async def _relist(self) -> None:
        found: dict[_Key, None] = {}
        page = ""
        while True:
            answer = await self._client.list(
                self.resource,
                self._namespace or None,
                label_selector=self._label_selector,
                field_selector=self._field_selector,
                limit=PAGE,
                continue_=page,
            )
            for body in answer.items:
                found[(namespace_of(body), name_of(body))] = None
                self._apply(body)
            page = answer.continue_
            if not page:
                break
        self._drop_except(found)
        self._version = answer.resource_version
        self._failures = 0
        self._synced.set()

    async def _follow(self) -> None:
        events = self._client.watch(
            self.resource,
            self._namespace or None,
            resource_version=self._version,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
        )
        self._failures += 1
        async for event in events:
            self._failures = 0
            if event.type == "DELETED":
                self._remove((namespace_of(event.object), name_of(event.object)), event.object)
            elif event.type != "BOOKMARK":
                self._apply(event.object)
            self._version = event.object["metadata"]["resourceVersion"]

    def _apply(self, body: Object) -> None:
        if "kind" not in body:
            body = {"apiVersion": self.resource.api_version, "kind": self.resource.kind, **body}
        if self._transform is not None:
            body = self._transform(body)
        key = (namespace_of(body), name_of(body))
        old = self._objects.get(key)
        if old is not None:
            if old["metadata"]["resourceVersion"] == body["metadata"]["resourceVersion"]:
                return
            if old["metadata"].get("uid") != body["metadata"].get("uid"):
                # Deleted and made again while nobody looked: handlers must not take it for a change.
                self._remove(key, old)
                old = None
        self._objects[key] = body
        for index in self._indexes.values():
            index.move(key, old, body)
        self._notify(old, body)

    def _remove(self, key: _Key, last: Object) -> None:
        old = self._objects.pop(key, None)
        if old is None:
            return
        for index in self._indexes.values():
            index.move(key, old, None)
        if self._transform is not None and last is not old:
            last = self._transform(last)
        self._notify({**last, "apiVersion": old["apiVersion"], "kind": old["kind"]}, None)

    def _drop_except(self, found: dict[_Key, None]) -> None:
        for key in [key for key in self._objects if key not in found]:
            self._remove(key, self._objects[key])

    def _notify(self, old: Object | None, new: Object | None) -> None:
        for handler in self._handlers:
            try:
                handler(old, new)
            except Exception:
                # One reader's mistake must not stop the others' view of the cluster.
                log.exception("handler of %s failed", self.resource.plural)


def without_managed_fields(body: Object) -> Object:
    """A transform, as kube-controller-manager has it: nobody who reconciles reads them, and of a pod they are half."""
    metadata = body["metadata"]
    if "managedFields" not in metadata:
        return body
    return {**body, "metadata": {name: value for name, value in metadata.items() if name != "managedFields"}}


class SharedInformers:
    """`Informers`: made on the first `of`, started by `run` (or at once while that runs)."""

    def __init__(self, client: KubeClient, random: Random | None = None) -> None:
        self._client = client
        self._random = random or Random(0)
        self._informers: dict[Resource, SharedInformer] = {}
        self._group: asyncio.TaskGroup | None = None

    def of(self, resource: Resource) -> SharedInformer:
        informer = self._informers.get(resource)
        if informer is None:
            informer = self._informers[resource] = SharedInformer(
                self._client, resource, self._random, transform=without_managed_fields
            )
            if self._group is not None:
                self._start(self._group, informer)
        return informer

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for informer in list(self._informers.values()):
                self._start(group, informer)
            try:
                await asyncio.Event().wait()
            finally:
                self._group = None

    async def wait_synced(self) -> None:
        """Until every informer asked for so far holds its first list."""
        for informer in list(self._informers.values()):
            await informer.wait_synced()

    @staticmethod
    def _start(group: asyncio.TaskGroup, informer: SharedInformer) -> None:
        group.create_task(informer.run(), name=f"informer {informer.resource.plural}")
