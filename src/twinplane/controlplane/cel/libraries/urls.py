"""`url` and `isURL`, as Go's `url.ParseRequestURI` reads them: absolute, or a path that begins with a slash."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from twinplane.controlplane.cel.functions import function, method, opaque

_URL = "kubernetes.URL"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:").match
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f]|%(?![0-9A-Fa-f]{2})").search
_PATH_SAFE = "/:@!$&'()*+,;=~-._%"
_HOST = re.compile(r"(?:\[[^\]]*\]|[^:\[\] ]*)(?::\d*)?").fullmatch


def _parse(text: str) -> dict[str, Any]:
    if not text or _FORBIDDEN(text) or not (text.startswith("/") or _SCHEME(text)):
        raise ValueError(
            f"URL parse error during conversion from string: parse {_quoted(text)}: invalid URI for request"
        )
    try:
        parts = urlsplit(text, allow_fragments=False)
        host = parts.netloc.rpartition("@")[2]
        if not _HOST(host):
            raise ValueError(f"invalid host {host}")
    except ValueError as error:
        raise ValueError(f"URL parse error during conversion from string: parse {_quoted(text)}: {error}") from None
    return opaque(url=text, scheme=parts.scheme, host=host, path=parts.path, query=parts.query)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'


def _is_url(text: str) -> bool:
    try:
        _parse(text)
    except ValueError:
        return False
    return True


def _hostname(url: dict[str, Any]) -> str:
    host = str(url["host"])
    return host[1 : host.index("]")] if host.startswith("[") else host.partition(":")[0]


def _port(url: dict[str, Any]) -> str:
    host = str(url["host"])
    return host.rpartition("]")[2].rpartition(":")[2] if ":" in host.rpartition("]")[2] else ""


FUNCTIONS = (
    function("url", "string", _URL, _parse),
    function("isURL", "string", "bool", _is_url),
    method("getScheme", _URL, "string", lambda url: url["scheme"]),
    method("getHost", _URL, "string", lambda url: url["host"]),
    method("getHostname", _URL, "string", _hostname),
    method("getPort", _URL, "string", _port),
    method("getEscapedPath", _URL, "string", lambda url: quote(url["path"], safe=_PATH_SAFE)),
    method(
        "getQuery",
        _URL,
        "dyn",
        lambda url: parse_qs(url["query"], keep_blank_values=True),
    ),
)
