"""Twinplane inside a test: a throwaway cluster in the test's own process, virtual time, and fakes.

    async with twinplane.testing.cluster(nodes=2) as cluster: ...   # on the test's own event loop
    with twinplane.testing.running_cluster(nodes=2) as cluster: ... # on a thread, for blocking clients

Documented in docs/testing.md. Names are resolved on first use: the pytest plugin imports this package in every project
that has Twinplane installed, which must cost nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twinplane.testing.in_process import Cluster, cluster
    from twinplane.testing.running import RunningCluster, running_cluster

_PLACES = {
    "Cluster": "in_process",
    "cluster": "in_process",
    "RunningCluster": "running",
    "running_cluster": "running",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)


__all__ = ["Cluster", "RunningCluster", "cluster", "running_cluster"]
