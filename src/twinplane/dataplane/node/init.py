"""The part of PID 1 that stays: services started again when they end, orphans reaped, an orderly end on SIGTERM.

One loop around sigtimedwait, without asyncio, subprocess or logging: each would cost every node megabytes for nothing.
Containers outlive containerd and the agent, as their shims are children of this process then.
"""

from __future__ import annotations

import os
import signal
import sys
import time

BACK_OFF_FIRST = 0.2
BACK_OFF_LAST = 10.0
"""Seconds before a service is started again; doubled each time, until it has run for as long as the longest."""
STOP_GRACE = 2.0
"""Seconds that services have to end after SIGTERM, before the kernel ends them together with this process."""
WATCHED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)


class Service:
    """A child process; `once` is done when it succeeds."""

    __slots__ = ("arguments", "back_off", "due", "name", "once", "pid", "started")

    def __init__(self, name: str, arguments: tuple[str, ...], *, once: bool = False) -> None:
        self.name = name
        self.arguments = arguments
        self.once = once
        self.pid = 0
        self.due: float | None = 0.0
        """When to start it (monotonic); None while it runs, and for one that is done."""
        self.back_off = BACK_OFF_FIRST
        self.started = 0.0


class Init:
    def __init__(self, services: list[Service], environment: dict[str, str]) -> None:
        self._services = services
        self._environment = environment
        self._stopping = False
        signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)

    def run(self) -> int:
        """Until SIGTERM or SIGINT."""
        while True:
            self._start_due()
            number = self._wait(self._next_due())
            if number == signal.SIGCHLD:
                self._reap()
            elif number is not None:
                self._stop()
                return 0

    def _start_due(self) -> None:
        now = time.monotonic()
        for service in self._services:
            if service.due is not None and service.due <= now:
                self._start(service, now)

    def _start(self, service: Service, now: float) -> None:
        service.started = now
        try:
            service.pid = os.posix_spawnp(
                service.arguments[0], service.arguments, self._environment, setsigmask=(), setsid=True
            )
            service.due = None
        except OSError as error:
            _log(f"{service.name} does not start: {error}")
            self._again(service, now)

    def _again(self, service: Service, now: float) -> None:
        if now - service.started > BACK_OFF_LAST:
            service.back_off = BACK_OFF_FIRST
        service.pid = 0
        service.due = now + service.back_off
        service.back_off = min(service.back_off * 2, BACK_OFF_LAST)

    def _next_due(self) -> float:
        """Seconds until a service is to be started; an hour when none waits."""
        due = [service.due for service in self._services if service.due is not None]
        return max(0.0, min(due) - time.monotonic()) if due else 3600.0

    def _wait(self, seconds: float) -> int | None:
        found = signal.sigtimedwait(WATCHED, seconds)
        return None if found is None else found.si_signo

    def _reap(self) -> None:
        """Every child that has ended: ours, and processes of containers whose parents ended before them."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            service = next((found for found in self._services if found.pid == pid), None)
            if service is not None:
                self._ended(service, os.waitstatus_to_exitcode(status))

    def _ended(self, service: Service, code: int) -> None:
        if service.once and code == 0:
            service.pid = 0
            return
        if self._stopping:
            service.pid = 0
            return
        how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
        self._again(service, time.monotonic())
        _log(f"{service.name} {how}; starting it again")

    def _stop(self) -> None:
        """The agent says good-bye to its cluster; what is left then the kernel ends with this process."""
        self._stopping = True
        pids = {service.pid for service in self._services if service.pid}
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_GRACE
        while pids and (left := deadline - time.monotonic()) > 0:
            self._wait(left)
            self._reap()
            pids &= {service.pid for service in self._services}


def _log(message: str) -> None:
    print(f"machine: {message}", file=sys.stderr, flush=True)
