"""The garbage collector's settings for a process that serves the API.

Called once by whoever starts such a process, after everything has been loaded. A server holds a large heap that never
becomes garbage (schemas, objects, indexes) and makes many short-lived dictionaries; with Python's defaults a third of
the time of a write goes into walking the former because of the latter.
"""

from __future__ import annotations

import gc

THRESHOLDS = (20_000, 50, 100)


def settle() -> None:
    """Leave what is loaded out of collections, and collect less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
