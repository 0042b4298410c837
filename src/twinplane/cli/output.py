"""What the command line prints: eksctl's progress lines on stderr-like stdout, tables and documents for `get`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

INFO, DONE, WARN, FAIL = "ℹ", "✔", "!", "✖"  # noqa: RUF001  eksctl's own sign
_COLOURS = {INFO: "36", DONE: "32", WARN: "33", FAIL: "31"}


class CommandError(Exception):
    """One clear sentence for the user; the exit status is 1."""


class Progress:
    """Step by step, each line stamped with the time, as eksctl logs."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._colour = sys.stdout.isatty()

    def info(self, text: str) -> None:
        self._line(INFO, text)

    def done(self, text: str) -> None:
        self._line(DONE, text)

    def warn(self, text: str) -> None:
        self._line(WARN, text)

    def _line(self, sign: str, text: str) -> None:
        if self._quiet:
            return
        mark = f"\x1b[{_COLOURS[sign]}m{sign}\x1b[0m" if self._colour else sign
        stamp = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
        print(f"{stamp} [{mark}]  {text}", flush=True)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Columns parted by tabs and padded, as eksctl and kubectl print them."""
    lines = [list(headings), *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    for line in lines:
        print("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_document(value: Any, form: str) -> None:
    if form == "json":
        print(json.dumps(value, indent=4, default=_plain))
    else:
        import yaml

        print(yaml.safe_dump(json.loads(json.dumps(value, default=_plain)), sort_keys=False), end="")


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
