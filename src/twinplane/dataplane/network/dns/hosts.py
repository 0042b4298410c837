"""Names that the Corefile's `hosts` block gives addresses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twinplane.nameserver.contract import NOT_OURS, Answer, Outcome, Record

TTL = 3600
"""The default of CoreDNS's hosts plugin."""


class Hosts:
    """Implements `Source`; names that it does not have are others' (`fallthrough`)."""

    def __init__(self, addresses: Mapping[str, Sequence[str]]) -> None:
        self._addresses = addresses

    def answer(self, name: str, type: str) -> Answer:
        if name not in self._addresses:
            return NOT_OURS
        kinds = ("A", "AAAA") if type == "ANY" else (type,)
        pairs = (("AAAA" if ":" in address else "A", address) for address in self._addresses[name])
        return Answer(Outcome.FOUND, tuple(Record(name, kind, value, TTL) for kind, value in pairs if kind in kinds))
