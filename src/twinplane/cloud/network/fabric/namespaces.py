"""Network namespaces: make, take away, list, and run commands inside one.

A command runs in a thread of its own that enters the namespace and ends with it, so no thread that serves others is
ever left in the wrong place.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from twinplane.cloud.network.contract import NAMESPACES

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
TIMEOUT = 30.0
"""Seconds for one command: they take milliseconds."""


class CommandFailed(Exception):
    """The command line and what it wrote to standard error."""


def run(arguments: list[str], content: str = "") -> str:
    """Standard output. Raises `CommandFailed`."""
    try:
        done = subprocess.run(arguments, input=content, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandFailed(f"{' '.join(arguments)}: {error}") from error
    if done.returncode:
        raise CommandFailed(f"{' '.join(arguments)}: {done.stderr.strip()[:2000]}")
    return done.stdout


def inside(name: str | None, work: Callable[[], T]) -> T:
    """Run `work` in a namespace (None: the caller's). Raises what it raises, or `FileNotFoundError`."""
    if name is None:
        return work()
    outcome: list[T] = []
    problem: list[BaseException] = []

    def entered() -> None:
        try:
            enter(name)
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, whatever it is
            problem.append(error)

    thread = threading.Thread(target=entered, name=f"in {name}")
    thread.start()
    thread.join()
    if problem:
        raise problem[0]
    return outcome[0]


def enter(name: str) -> None:
    """Move the calling thread, for good."""
    handle = os.open(NAMESPACES / name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(handle, CLONE_NEWNET):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), name)
    finally:
        os.close(handle)


def existing(prefix: str) -> set[str]:
    try:
        return {name for name in os.listdir(NAMESPACES) if name.startswith(prefix)}
    except FileNotFoundError:
        return set()


def make(name: str) -> None:
    run(["ip", "netns", "add", name])


def remove(name: str) -> None:
    """Takes the name away, if it is there; the namespace ends with the last process in it."""
    try:
        run(["ip", "netns", "del", name])
    except CommandFailed:
        if (NAMESPACES / name).exists():
            raise


def batch(lines: list[str], *, strict: bool = True, program: str = "ip") -> None:
    """All lines are tried. Raises `CommandFailed` when one was refused, unless not `strict`."""
    if not lines:
        return
    try:
        run([program, "-force", "-batch", "-"], "\n".join([*lines, ""]))
    except CommandFailed:
        if strict:
            raise


def load_rules(text: str) -> None:
    """One transaction: all of it or nothing."""
    if text:
        run(["nft", "-f", "-"], text)


def write_settings(settings: dict[str, str]) -> None:
    for path, value in settings.items():
        setting = Path("/proc/sys/net") / path
        # A kernel without IPv6 or br_netfilter has nothing to switch off.
        if setting.exists() or not path.startswith(("ipv6/", "bridge/")):
            setting.write_text(value)


def read_setting(path: str) -> str:
    try:
        return (Path("/proc/sys/net") / path).read_text().strip()
    except OSError:
        return ""
