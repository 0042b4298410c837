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
from twinplane.controlplane.api.extensions.customresources.conversion import ConvertingStream
from twinplane.controlplane.api.objects.selection import Selection, select
from twinplane.controlplane.api.objects.watching import TooOld, Watcher, added
from twinplane.controlplane.api.options import ListOptions, list_options, revision
from twinplane.controlplane.api.runtime import Call
from twinplane.controlplane.api.verbs.list import fresh
from twinplane.controlplane.api.views import Accepted, View
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
        as_stored = View(call.stored, Accepted(), "", view.rules, view.clock, as_stored=True)
        if call.request.shares and view.shows_stored_bytes and not converts:
            view = replace(view, shared=True)
        watcher = _begin(call, options, selection, as_stored if converts else view, asked)
    except TooOld as error:
        return Response(200, stream=_only(_error_event(expired(str(error)))))
    except ApiError as error:
        return Response(200, stream=_only(_error_event(error)))
    seconds = options.timeout_seconds or MIN_SECONDS * (1 + call.runtime.random.random())
    stream = Limited(watcher, seconds)
    return Response(200, stream=ConvertingStream(stream, call.type, view.render) if converts else stream)


def _begin(call: Call, options: ListOptions, selection: Selection, view: View, asked: int) -> Watcher:
    """Everything here is one moment: state, history and joining the hub, without an await between."""
    cache = call.runtime.cache
    stored = call.stored.resource
    hub = cache.hub(stored)
    initial: Iterable[bytes]
    if options.send_initial_events or (options.send_initial_events is None and not asked):
        initial = added(cache.collection(stored).select(selection), view)
    else:
        initial = hub.since(asked, selection, view) if asked else ()
    if options.send_initial_events and options.bookmarks:
        initial = chain(initial, (view.bookmark(cache.revision, initial_events_end=True),))
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
