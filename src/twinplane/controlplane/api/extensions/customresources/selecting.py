"""Selecting and watching custom resources in a version that a webhook makes of the stored one.

What is selected by there (`selectableFields` of the version) is known only after conversion: list and deletecollection
convert what the rest of the selection leaves and choose then; a watch follows the changes as they are stored.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import Any

import orjson

from twinplane.controlplane.api.encoding import restamp, watch_event
from twinplane.controlplane.api.extensions.customresources.conversion import known, learn
from twinplane.controlplane.api.objects.entry import Change, Entry
from twinplane.controlplane.api.objects.selection import Selection
from twinplane.controlplane.api.runtime import Call
from twinplane.controlplane.api.views import View
from twinplane.kubeclient.errors import ApiError


async def chosen(call: Call, selection: Selection, entries: list[Entry]) -> list[Entry]:
    """Those of `entries`, which the rest of the selection has chosen, that its `shown` fields choose, too.

    Raises ApiError when the webhook does not convert them.
    """
    if not selection.shown:
        return entries
    await learn(call.type, (entry.value for entry in entries))
    return [entry for entry in entries if await _is_chosen(call, selection, entry)]


async def _is_chosen(call: Call, selection: Selection, entry: Entry) -> bool:
    if not selection.shown:
        return True
    fields = await known(lambda: call.runtime.rules.field_labels(call.type, call.to_requested(entry.parsed())))
    return all(requirement.matches(fields) for requirement in selection.shown)


class ConvertingStream:
    """A watch of such a version: `changes` come as they are stored, and go out as `view` shows them."""

    def __init__(self, changes: Any, call: Call, selection: Selection, view: View) -> None:
        self._changes = changes
        self._call = call
        self._selection = selection
        self._view = view
        self._events = self._shown()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._events)

    async def aclose(self) -> None:
        await self._events.aclose()
        await self._changes.aclose()

    async def _shown(self) -> AsyncGenerator[bytes]:
        """Ends with an error event where the webhook fails, as upstream does."""
        async for piece in self._changes:
            entries = [entry for each in piece if isinstance(each, Change) for entry in self._needed(each)]
            try:
                await learn(self._call.type, (entry.value for entry in entries))
                events = [each if isinstance(each, bytes) else await self._event(each) for each in piece]
            except ApiError as error:
                yield watch_event("ERROR", orjson.dumps(error.status()))
                return
            if out := b"".join(events):
                yield out

    def _needed(self, change: Change) -> Iterable[Entry]:
        """The states that are looked at in the version asked for."""
        states = [change.entry, change.previous if self._selection.shown or change.entry is None else None]
        return (entry for entry in states if entry is not None and self._selection.matches(entry))

    async def _event(self, change: Change) -> bytes:
        """Empty where the selection does not see the change."""
        now, before = await self._sees(change.entry), await self._sees(change.previous)
        if now and change.entry is not None:
            kind, value = "MODIFIED" if before else "ADDED", change.entry.value
        elif before and change.previous is not None:
            kind, value = "DELETED", restamp(change.previous.value, change.previous.revision, change.revision)
        else:
            return b""
        return watch_event(kind, await known(lambda: self._view.render(value)))

    async def _sees(self, entry: Entry | None) -> bool:
        if entry is None or not self._selection.matches(entry):
            return False
        return await _is_chosen(self._call, self._selection, entry)
