"""Between the sockets of a DNS server and what it knows: a name and a type in, an outcome out. Plain values, no wire
format.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Outcome(Enum):
    FOUND = "found"
    """Also with no record: the name exists, but has none of that type."""
    NO_SUCH_NAME = "no such name"
    NOT_OURS = "not ours"
    """Somebody else's name: to be forwarded."""


@dataclass(frozen=True, slots=True)
class Record:
    name: str
    """Absolute, with the last dot."""
    type: str
    """A, AAAA, CNAME, PTR, SRV, TXT, NS, SOA."""
    value: str
    """In the presentation format of zone files."""
    ttl: int


@dataclass(frozen=True, slots=True)
class Answer:
    outcome: Outcome
    records: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    """The SOA, where there is nothing to answer."""
    authoritative: bool = True


NOT_OURS = Answer(Outcome.NOT_OURS)


class Source(Protocol):
    def answer(self, name: str, type: str) -> Answer:
        """`name` is absolute and in lower case."""
        ...


class Forward(Protocol):
    async def resolve(self, wire: bytes, name: str, over_tcp: bool) -> bytes | None:
        """The answer of whoever is asked for others' names; None when nobody answers. The id is the query's."""
        ...
