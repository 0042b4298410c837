"""What the composition root hands to every part of the simulation."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final, Protocol

from twinplane.clock import Clock
from twinplane.dataplane.aws import Aws
from twinplane.kubeclient.contract import KubeClient, Object, PatchType

STRATEGIC: Final[PatchType] = "application/strategic-merge-patch+json"


class Recorder(Protocol):
    def event(self, regarding: Object, type: str, reason: str, message: str) -> None:
        """Never blocks."""
        ...


@dataclass(frozen=True, slots=True)
class Runtime:
    client: KubeClient
    aws: Aws
    clock: Clock
    random: Random
    events: Recorder
