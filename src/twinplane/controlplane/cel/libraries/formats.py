"""`format`: named checks of strings. `validate` and `named` have optional results; `rewriting` says how they come."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any
from urllib.parse import urlsplit

from twinplane.controlplane.api.types.validation import names
from twinplane.controlplane.cel.functions import Function, function, opaque

_FORMAT = "kubernetes.NamedFormat"
Check = Callable[[str], Sequence[str]]


def _prefixed(check: Check) -> Check:
    return lambda text: check(text.removesuffix("-"))


def _uri(text: str) -> Sequence[str]:
    parts = urlsplit(text)
    return () if parts.scheme or text.startswith("/") else ("invalid URI for request",)


def _uuid(text: str) -> Sequence[str]:
    shape = re.fullmatch(r"[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}", text)
    return () if shape else ("does not match the UUID format",)


def _byte(text: str) -> Sequence[str]:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return ("invalid base64",)
    return ()


def _parsed(parse: Callable[[str], Any], problem: str) -> Check:
    def check(text: str) -> Sequence[str]:
        try:
            parse(text)
        except ValueError:
            return (problem,)
        return ()

    return check


CHECKS: dict[str, Check] = {
    "dns1123Label": names.dns_label,
    "dns1123Subdomain": names.dns_subdomain,
    "dns1035Label": names.dns_1035_label,
    "dns1123LabelPrefix": _prefixed(names.dns_label),
    "dns1123SubdomainPrefix": _prefixed(names.dns_subdomain),
    "dns1035LabelPrefix": _prefixed(names.dns_1035_label),
    "qualifiedName": names.qualified_name,
    "labelValue": names.label_value,
    "uri": _uri,
    "uuid": _uuid,
    "byte": _byte,
    "date": _parsed(date.fromisoformat, "invalid date"),
    "datetime": _parsed(datetime.fromisoformat, "invalid datetime"),
}


def _validate(format: dict[str, Any], text: str) -> dict[str, Any]:
    problems = list(CHECKS[format["name"]](text))
    return {"errors": problems} if problems else {}


def _named(name: str) -> dict[str, Any]:
    return {"format": opaque(name=name)} if name in CHECKS else {}


def _constant(name: str) -> Callable[[], dict[str, Any]]:
    return lambda: opaque(name=name)


FUNCTIONS: tuple[Function, ...] = (
    *(function(f"format.{name}", "", _FORMAT, _constant(name)) for name in CHECKS),
    Function("format.named", ("string",), f"map(string, {_FORMAT})", _named),
    Function("validate", (_FORMAT, "string"), "map(string, list(string))", _validate, member=True),
)
