"""Answers as people read them: indented for curl, Wget and browsers, and for whoever asks with `pretty`.

Source: apiserver `pkg/endpoints/handlers/negotiation` (isPrettyPrint).
"""

from __future__ import annotations

import orjson

from twinplane.controlplane.api.contract import Request, Response

_PEOPLE = ("curl", "Wget", "Mozilla/5.0")
_TRUE = frozenset({"1", "t", "T", "true", "True", "TRUE"})
_LONGEST = 16 << 20
"""Bytes of what is still indented: nobody reads more, and everybody else waits for it."""


def is_read_by_people(request: Request) -> bool:
    asked = request.query.get("pretty")
    if asked:
        return asked in _TRUE
    return request.headers.get("user-agent", "").startswith(_PEOPLE)


def indented(response: Response) -> Response:
    """Unchanged when it is no JSON of one piece: watches, logs, text."""
    if response.content_type != "application/json" or response.stream is not None or response.tunnel is not None:
        return response
    whole = response.whole()
    if whole and len(whole) <= _LONGEST:
        response.body = orjson.dumps(orjson.loads(whole), option=orjson.OPT_INDENT_2)
        response.pieces = ()
    return response
