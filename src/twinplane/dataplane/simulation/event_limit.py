"""How many events the simulated kubelets of a process may record.

A kubelet records 50 events a second at most (`--event-qps`), and clusters with thousands of nodes limit what the API
server takes from all of them (admission plugin EventRateLimit). Here one bucket stands for both: short bursts are told
in full, of a storm only a sample.
"""

from __future__ import annotations

from twinplane.clock import Clock
from twinplane.dataplane.simulation.runtime import Recorder
from twinplane.kubeclient.contract import Object

EVENTS_PER_SECOND = 50.0
BURST = 1000.0


class LimitedRecorder:
    """A `Recorder` that drops what is over the limit."""

    def __init__(self, recorder: Recorder, clock: Clock) -> None:
        self._recorder = recorder
        self._clock = clock
        self._tokens = BURST
        self._at = clock.now()

    def event(self, regarding: Object, type: str, reason: str, message: str) -> None:
        now = self._clock.now()
        self._tokens = min(BURST, self._tokens + (now - self._at) * EVENTS_PER_SECOND)
        self._at = now
        if self._tokens >= 1:
            self._tokens -= 1
            self._recorder.event(regarding, type, reason, message)
