"""The garbage collector's settings for a process that serves the API.

Called once by whoever starts such a process, after everything has been loaded. A server holds a large heap that never
becomes garbage in cycles (schemas, objects, indexes), and answering a request leaves no cycle behind either: what it
makes goes with its last reference. With Python's defaults a third of the time of a write goes into walking the heap,
and with high thresholds the walk comes seldom and stops everybody for a tenth of a second.

So where a young collection would begin, its objects are moved out of its sight instead, which costs nothing. What does
end in cycles (failed tasks) is found by a collection of everything, which the growth of the heap brings about.
"""

from __future__ import annotations

import asyncio
import gc

YOUNG = 20_000
"""Objects by which the heap grows between two looks at it."""
GROWTHS = 100
"""Of that size until everything is collected: at most some 200 MB of garbage. A heap that is larger than that may grow
by its own size first, so that collections, half a second for a million objects, come seldom enough for it."""
PATIENCE = 4
"""Times as long until the next one after a collection that found next to nothing."""
NOTHING = 0.001
"""Of all objects."""
_NEVER = 1 << 30


def settle() -> None:
    """Leave what is loaded out of collections, and what comes later as well until it is time."""
    _collect()
    gc.set_threshold(YOUNG, _NEVER, _NEVER)
    gc.callbacks.append(Keeper())


class Keeper:
    """Told by the collector when it begins."""

    def __init__(self) -> None:
        self._growths = 0
        self._growths_max = GROWTHS

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if phase != "start" or info["generation"]:
            return
        gc.freeze()
        self._growths += 1
        if self._growths < self._growths_max:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            # In a worker thread; the loop's will be the next.
            return
        self._growths = 0
        # The collector does not begin again before it has ended.
        loop.call_soon(self._collect)

    def _collect(self) -> None:
        found = _collect()
        objects = gc.get_freeze_count()
        patience = PATIENCE if found < NOTHING * objects else 1
        self._growths_max = max(GROWTHS, patience * objects // YOUNG)


def _collect() -> int:
    """How many objects were garbage."""
    gc.unfreeze()
    found = gc.collect()
    gc.freeze()
    return found
