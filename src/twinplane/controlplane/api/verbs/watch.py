"""WATCH: a stream of events, from now, from a revision, or after the present state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from itertools import chain
from typing import Any

import orjson

from twinplane.controlplane.api.contract import Response
from twinplane.controlplane.api.encoding import watch_event
from twinplane.controlplane.api.extensions.customresources.selecting import ConvertingStream
from twinplane.controlplane.api.objects.entry import Change
from twinplane.controlplane.api.objects.selection import Selection, select
from twinplane.controlplane.api.objects.watching import TooOld, Watcher, added
from twinplane.controlplane.api.options import ListOptions, list_options, revision
from twinplane.controlplane.api.runtime import Call
from twinplane.controlplane.api.verbs.list import fresh
from twinplane.controlplane.api.views import View
from twinplane.kubeclient.errors import ApiError, expired

MIN_SECONDS = 1800
"""A watch without a timeout of its own ends after this and up to twice as long, as upstream's default."""


async def watch(call: Call) -> Response:
    options = list_options(call.request.query, watch=True)
    route_name = f"metadata.name={call.name}" if call.name and not options.field_selector else ""
    selection = select(call.type, call.namespace, options.label_selector, options.field_selector or route_name)
    view = call.view()
    asked = revision(options.resource_version)
    try:
        await fresh(call, asked)
        converts = "converter" in call.type.extra
        if converts:
            view = replace(view, shared=True, follows=True)
        elif call.request.shares and view.shows_stored_bytes:
            view = replace(view, shared=True)
        watcher = _begin(call, options, selection, view, asked)
    except TooOld as error:
        return Response(200, stream=_only(_error_event(expired(str(error)))))
    except ApiError as error:
        return Response(200, stream=_only(_error_event(error)))
    seconds = options.timeout_seconds or MIN_SECONDS * (1 + call.runtime.random.random())
    stream = Limited(watcher, seconds)
    return Response(200, stream=ConvertingStream(stream, call, selection, view) if converts else stream)


def _begin(call: Call, options: ListOptions, selection: Selection, view: View, asked: int) -> Watcher:
    """Everything here is one moment: state, history and joining the hub, without an await between."""
    cache = call.runtime.cache
    stored = call.stored.resource
    hub = cache.hub(stored)
    initial: Iterable[Any]
    if options.send_initial_events or (options.send_initial_events is None and not asked):
        present = cache.collection(stored).select(selection)
        initial = [[Change(entry.revision, entry, None) for entry in present]] if view.follows else added(present, view)
    elif view.follows:
        initial = [hub.changes_since(asked, selection.namespace)] if asked else ()
    else:
        initial = hub.since(asked, selection, view) if asked else ()
    if options.send_initial_events and options.bookmarks:
        end = view.bookmark(cache.revision, initial_events_end=True)
        initial = chain(initial, ([end] if view.follows else end,))
    return hub.add(selection, view, initial, bookmarks=options.bookmarks)


def _error_event(error: ApiError) -> bytes:
    return watch_event("ERROR", orjson.dumps(error.status()))


async def _only(event: bytes) -> AsyncIterator[bytes]:
    yield event


class Limited:
    """A watcher's stream that ends after `seconds`."""

    def __init__(self, watcher: Watcher, seconds: float) -> None:
        self._watcher = watcher
        self._end = asyncio.get_running_loop().call_later(seconds, watcher.close)

    def __aiter__(self) -> Limited:
        return self

    async def __anext__(self) -> Any:
        return await self._watcher.__anext__()

    async def aclose(self) -> None:
        self._end.cancel()
        await self._watcher.aclose()
