"""Requests without end from the host, each over a connection of its own, counted by target."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

EACH_SECONDS = 0.01
TIMEOUT_SECONDS = 30.0
ENOUGH = 50
ENOUGH_SECONDS = 120.0
"""How long the load goes on for a target that has not been asked `ENOUGH` times: a busy machine is slow, not broken."""


@dataclass
class Counts:
    sent: int = 0
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0
    """Seconds."""


def fetch(url: str, path: str = "/") -> str:
    """Raises OSError or HTTPException."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode()
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise http.client.HTTPException(f"{answer.status} {body[:100]}")
    return body


@contextmanager
def load(targets: Mapping[str, str]) -> Iterator[dict[str, Counts]]:
    """Name of a target -> URL. When it is over, what the counts say is final."""
    counts = {name: Counts() for name in targets}
    over = threading.Event()
    began = time.monotonic()

    def ask(name: str) -> None:
        mine = counts[name]
        while not over.wait(EACH_SECONDS):
            at = time.monotonic()
            mine.sent += 1
            try:
                fetch(targets[name])
            except (OSError, http.client.HTTPException) as error:
                mine.failures.append(f"after {at - began:.2f} s: {error!r}")
            mine.slowest = max(mine.slowest, time.monotonic() - at)

    threads = [threading.Thread(target=ask, args=(name,), daemon=True) for name in targets]
    for thread in threads:
        thread.start()
    try:
        yield counts
        while any(found.sent <= ENOUGH for found in counts.values()) and time.monotonic() - began < ENOUGH_SECONDS:
            time.sleep(EACH_SECONDS)
    finally:
        over.set()
        for thread in threads:
            thread.join(2 * TIMEOUT_SECONDS)
