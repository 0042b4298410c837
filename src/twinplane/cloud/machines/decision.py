"""What to do about machines: instances of the account and what runs in, plan out. Pure; `loop` applies it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from twinplane.cloud.contract import REAL, Instance

UP = frozenset({"pending", "running"})
GONE = frozenset({"shutting-down", "terminated"})


@dataclass(frozen=True, slots=True)
class Plan:
    start: tuple[Instance, ...] = ()
    stop: tuple[str, ...] = ()
    """Instance ids; one that is to be started again is stopped first, and started by the next plan."""
    forget: tuple[str, ...] = ()
    """Disks and groups to remove, of what does not run."""


def decide(instances: Iterable[Instance], running: Mapping[str, int], kept: Collection[str]) -> Plan:
    """`running`: instance id to the number of boots (`Instance.boots`) it was started at. `kept`: ids with a directory.

    An instance that is up runs, at its latest boot. Everything else does not run, and what is terminated, or not known
    to the account (a directory that a purged region left), is forgotten.
    """
    real = {found.instance_id: found for found in instances if found.runtime == REAL}
    up = {name: found for name, found in real.items() if found.state in UP}
    stop = [name for name, boots in running.items() if name not in up or up[name].boots != boots]
    forget = [name for name in kept if name not in running and (name not in real or real[name].state in GONE)]
    return Plan(
        start=tuple(found for name, found in up.items() if name not in running),
        stop=tuple(sorted(stop)),
        forget=tuple(sorted(forget)),
    )
