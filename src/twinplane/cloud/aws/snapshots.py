"""The account on disk: pickles of moto's backends, written whole and atomically.

One file per group of services whose objects point at one another (an Auto Scaling group holds EC2 instances), so a
change in one service does not write the others again. `reducing` says how moto's objects are written; the file of an
ordinary account is around 100 KB and a commit takes low milliseconds.

A file is a line of JSON (format, moto version, digest) and the pickle. It is only ever read by the account that wrote
it: it lives in the private data directory, and pickle is not a format to accept from anywhere else.
"""

from __future__ import annotations

import copyreg
import hashlib
import io
import json
import logging
import os
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from twinplane.cloud.aws.reducing import reducers

log = logging.getLogger(__name__)

FORMAT = 1
SUFFIX = ".snapshot"

GROUPS: dict[str, tuple[str, ...]] = {
    "compute": ("ec2", "autoscaling", "elb", "elbv2", "cloudformation"),
    "identity": ("iam", "sts"),
}
"""Services that share objects and are therefore saved together; any other service is a group of its own."""

_GROUP_OF = {service: group for group, services in GROUPS.items() for service in services}

State = dict[str, dict[str, dict[str, Any]]]
"""service -> account -> region -> backend."""


class SnapshotCorrupt(Exception):
    """A file cannot be read back; the message names it and says what can be done."""


def group_of(service: str) -> str:
    return _GROUP_OF.get(service, service)


def services_of(group: str) -> tuple[str, ...]:
    return GROUPS.get(group, (group,))


class Snapshots:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._written: dict[str, bytes] = {}
        self._refused: set[str] = set()

    def save(self, group: str, state: State) -> bool:
        """Write a group durably; returns when it would survive a power cut. False when nothing had changed."""
        try:
            content = _dumps(state)
        except (TypeError, AttributeError, pickle.PicklingError, RecursionError) as error:
            self._warn(group, error)
            return True
        digest = hashlib.sha256(content).digest()
        if self._written.get(group) == digest:
            return False
        header = json.dumps({"format": FORMAT, "sha256": digest.hex()}).encode() + b"\n"
        _write(self._directory / f"{group}{SUFFIX}", header + content)
        self._written[group] = digest
        return True

    def _warn(self, group: str, error: Exception) -> None:
        """A service whose objects cannot be written works on, in memory: said once, not on every request."""
        if group not in self._refused:
            self._refused.add(group)
            log.warning("the state of %s is kept in memory only: %s", ", ".join(services_of(group)), error)

    def load(self) -> Iterable[tuple[str, State]]:
        """All groups. Raises `SnapshotCorrupt`."""
        for path in sorted(self._directory.glob(f"*{SUFFIX}")):
            yield path.name.removesuffix(SUFFIX), _read(path)


def _read(path: Path) -> State:
    header, _, content = path.read_bytes().partition(b"\n")
    try:
        facts = json.loads(header)
        intact = facts["format"] == FORMAT and facts["sha256"] == hashlib.sha256(content).hexdigest()
    except (ValueError, KeyError, TypeError):
        intact = False
    if not intact:
        raise SnapshotCorrupt(
            f"{path} is damaged: it is not the snapshot that was written. Restore it from a backup, or remove it "
            f"(the {', '.join(services_of(path.name.removesuffix(SUFFIX)))} resources of the account go with it)."
        )
    try:
        state: State = pickle.loads(content)
    except Exception as error:
        raise SnapshotCorrupt(
            f"{path} was written by another version of this program and cannot be read ({error!r}). Run the version "
            f"that wrote it, or remove the file."
        ) from error
    return state


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
    temporary.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _dumps(state: State) -> bytes:
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=5)
    table: dict[type, Any] = {**copyreg.dispatch_table, **reducers()}
    pickler.dispatch_table = table
    pickler.dump(state)
    return buffer.getvalue()
