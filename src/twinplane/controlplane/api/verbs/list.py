"""LIST: stored bytes of the selected objects, joined. All pages of a list are read at the revision of the first."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from typing import Any

import orjson

from twinplane.controlplane.api.bodies import Malformed, parse_json
from twinplane.controlplane.api.contract import Response
from twinplane.controlplane.api.encoding import list_pieces
from twinplane.controlplane.api.extensions.customresources.conversion import learn
from twinplane.controlplane.api.extensions.customresources.selecting import chosen
from twinplane.controlplane.api.objects.collection import first_of
from twinplane.controlplane.api.objects.entry import Entry
from twinplane.controlplane.api.objects.keys import prefix_of
from twinplane.controlplane.api.objects.selection import Selection, select
from twinplane.controlplane.api.options import ListOptions, list_options, revision
from twinplane.controlplane.api.runtime import Call, respond
from twinplane.controlplane.api.views import View, partial_metadata
from twinplane.controlplane.store.contract import Compacted, FutureRevision
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError, bad_request

_OF_VERSION = "(version meta.k8s.io/v1)"
_URL_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
FRESH_SECONDS = 3.0
"""How long a read waits for a revision that this server has not seen yet."""
_TOO_OLD_CONTINUE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


class TooOldContinue(ApiError):
    """410 with a token by which the client may go on without consistency."""

    def __init__(self, token: str) -> None:
        super().__init__("Expired", _TOO_OLD_CONTINUE)
        self._token = token

    def status(self) -> dict[str, Any]:
        return super().status() | {"metadata": {"continue": self._token}}


@dataclass(frozen=True, slots=True)
class Page:
    entries: list[Entry]
    revision: int
    more: bool
    remaining: int | None


@dataclass(frozen=True, slots=True)
class Start:
    """Where a page begins. `revision` 0: now; `after` is a key below the type's prefix."""

    revision: int = 0
    after: str = ""


async def list_(call: Call) -> Response:
    query = call.request.query
    options = list_options(query, watch=False)
    selection = select(call.type, call.namespace, options.label_selector, options.field_selector)
    start = await _start(call, options)
    page = await read_page(call, selection, start, 0 if selection.shown else options.limit)
    if selection.shown:
        found = await chosen(call, selection, page.entries)
        page = _page(*first_of(found, options.limit), page.revision, selection)
    token = _token(call, page) if page.more else ""
    await learn(call.type, (entry.value for entry in page.entries))
    return _answer(call.view(), page, token)


async def _start(call: Call, options: ListOptions) -> Start:
    if options.continue_:
        if options.resource_version and options.resource_version != "0":
            raise bad_request("specifying resource version is not allowed when using continue")
        return _decode_token(options.continue_)
    asked = revision(options.resource_version)
    if not asked:
        return Start()
    await fresh(call, asked)
    exact = options.match == "Exact" or (options.limit > 0 and not options.match)
    return Start(asked if exact else 0)


async def fresh(call: Call, asked: int) -> None:
    """Until the cache has seen `asked`. Raises Timeout as upstream does for a revision that nobody has yet."""
    cache = call.runtime.cache
    if asked <= cache.revision:
        return
    try:
        async with asyncio.timeout(FRESH_SECONDS):
            # Where nothing has changed since, no event of the store would ever tell so.
            await cache.catch_up()
            await cache.applied(asked)
    except TimeoutError:
        cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
        message = f"Too large resource version: {asked}, current: {cache.revision}"
        raise ApiError("Timeout", message, details={"causes": [cause]}, retry_after=1) from None


async def read_page(call: Call, selection: Selection, start: Start, limit: int) -> Page:
    cache = call.runtime.cache
    collection = cache.collection(call.stored.resource)
    after = collection.prefix + start.after if start.after else ""
    # What has not changed since is still the same, but a revision that is compacted away is refused all the same.
    kept = start.revision >= call.runtime.store.compacted_revision
    if start.revision in (0, cache.revision) or (kept and start.revision >= collection.revision):
        entries, following = collection.page(selection, after, limit)
        return _page(entries, following, start.revision or cache.revision, selection)
    return await _page_before(call, selection, start, limit)


async def _page_before(call: Call, selection: Selection, start: Start, limit: int) -> Page:
    """From the store's history: the type has changed since the revision that the list is read at."""
    prefix = prefix_of(call.stored.resource)
    scope = f"{prefix}{selection.namespace}/" if selection.namespace else prefix
    after = prefix + start.after if start.after else ""
    try:
        page = await call.runtime.store.range(scope, after=after, revision=start.revision)
    except Compacted as error:
        if start.after:
            raise TooOldContinue(_encode_token(-1, start.after)) from None
        message = f"The resourceVersion for the provided list is too old: {start.revision} ({error.compacted_revision})"
        raise ApiError("Expired", message) from None
    except FutureRevision as error:
        raise bad_request(f"resourceVersion {start.revision} is in the future, current is {error.current}") from None
    entries = [call.runtime.cache.entry(record) for record in page.records]
    selected = [entry for entry in entries if selection.covers(entry)] if selection.tests else entries
    return _page(*first_of(selected, limit), start.revision, selection)


def _page(entries: list[Entry], following: int, at: int, selection: Selection) -> Page:
    # As upstream: what remains is only told where it can be counted without selecting.
    return Page(entries, at, following > 0, following if following and not selection.chooses else None)


def _token(call: Call, page: Page) -> str:
    key = page.entries[-1].key.removeprefix(prefix_of(call.stored.resource))
    return _encode_token(page.revision, key)


def _encode_token(at: int, after: str) -> str:
    token = orjson.dumps({"v": "meta.k8s.io/v1", "rv": at, "start": after + "\0"})
    return base64.urlsafe_b64encode(token).decode().rstrip("=")


def _decode_token(text: str) -> Start:
    """Raises BadRequest. A revision of -1 means now, without consistency."""
    odd = next((index for index, character in enumerate(text) if character not in _URL_SAFE), None)
    if odd is not None or len(text) % 4 == 1:
        where = len(text) - 1 if odd is None else odd
        raise bad_request(f"continue key is not valid: illegal base64 data at input byte {where}")
    try:
        token = parse_json(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except Malformed as error:
        raise bad_request(f"continue key is not valid: {error}") from None
    version, at, after = (
        (token.get(field) for field in ("v", "rv", "start")) if isinstance(token, dict) else ("", 0, "")
    )
    if version != "meta.k8s.io/v1":
        raise bad_request(f"continue key is not valid: server does not recognize this encoded version {version or ''}")
    if not isinstance(at, int) or at == 0:
        raise bad_request(f"continue key is not valid: incorrect encoded start resourceVersion {_OF_VERSION}")
    if not after:
        raise bad_request(f"continue key is not valid: encoded start key empty {_OF_VERSION}")
    if not isinstance(after, str) or {"", ".", ".."} & set(after.removesuffix("\0").lstrip("/").split("/")):
        raise bad_request(f"continue key is not valid: {after}")
    return Start(max(at, 0), after.removesuffix("\0").lstrip("/"))


def _answer(view: View, page: Page, token: str) -> Response:
    resource = view.type.resource
    if view.shows_stored_bytes and not view.accepted.yaml:
        items = (entry.value for entry in page.entries)
        kind = f"{resource.kind}List"
        pieces = list_pieces(
            kind, resource.api_version, page.revision, items, continue_=token, remaining=page.remaining
        )
        return Response(200, pieces=pieces) if len(pieces) > 1 else Response(200, pieces[0])
    return respond(_shown(view, page, token), yaml=view.accepted.yaml)


def _shown(view: View, page: Page, token: str) -> Object:
    metadata: Object = {"resourceVersion": str(page.revision)}
    if token:
        metadata["continue"] = token
    if page.remaining is not None:
        metadata["remainingItemCount"] = page.remaining
    bodies = [view.converted(entry.parsed()) if view.converts else entry.parsed() for entry in page.entries]
    if view.accepted.shape == "table":
        table = view.table(bodies)
        table["metadata"] = metadata
        return table
    meta = f"meta.k8s.io/{view.accepted.meta_version}"
    if view.accepted.shape == "metadata":
        items = [partial_metadata(body, view.accepted.meta_version) for body in bodies]
        return {"kind": "PartialObjectMetadataList", "apiVersion": meta, "metadata": metadata, "items": items}
    resource = view.type.resource
    return {
        "kind": f"{resource.kind}List",
        "apiVersion": resource.api_version,
        "metadata": metadata,
        "items": bodies,
    }
