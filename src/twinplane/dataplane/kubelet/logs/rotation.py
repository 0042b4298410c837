"""Rotating container logs: `0.log` -> `0.log.20261123-160000` -> `.gz`, as the kubelet's container log manager does."""

from __future__ import annotations

import asyncio
import gzip
import logging
import shutil
from datetime import UTC, datetime
from pathlib import Path

from cri_api.v1 import api_pb2 as cri

from twinplane.clock import Clock
from twinplane.dataplane.runtime.contract import Runtime, RuntimeFailure

log = logging.getLogger(__name__)

MONITOR_SECONDS = 10.0
COMPRESSED, UNFINISHED = ".gz", ".tmp"


class LogRotation:
    """`max_bytes` is containerLogMaxSize; `max_files` counts the one that is written to, too."""

    def __init__(self, runtime: Runtime, clock: Clock, *, max_bytes: int, max_files: int) -> None:
        self._runtime, self._clock = runtime, clock
        self._max_bytes, self._max_files = max_bytes, max_files
        self._paths: dict[str, Path] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(MONITOR_SECONDS)
            await self.rotate()

    async def rotate(self) -> None:
        """All logs that have grown too large."""
        running = cri.ContainerFilter(state=cri.ContainerStateValue(state=cri.CONTAINER_RUNNING))
        try:
            ids = [item.id for item in await self._runtime.list_containers(running)]
            for container_id in ids:
                await self._rotate_container(container_id)
        except RuntimeFailure as failure:
            log.debug("log rotation: %s", failure)
            return
        self._paths = {key: path for key, path in self._paths.items() if key in ids}

    async def _rotate_container(self, container_id: str) -> None:
        path = self._paths.get(container_id)
        if path is None:
            path = Path((await self._runtime.container_status(container_id)).status.log_path)
            self._paths[container_id] = path
        try:
            if path.name and path.stat().st_size >= self._max_bytes:
                await self._rotate_log(container_id, path)
        except OSError as error:
            log.warning("log of container %s: %s", container_id, error)

    async def _rotate_log(self, container_id: str, path: Path) -> None:
        """Raises OSError and RuntimeFailure, with the log where it was."""
        await asyncio.to_thread(prepare, path, self._max_files)
        rotated = _moved(path, self._clock.now())
        try:
            await self._runtime.reopen_container_log(container_id)
        except RuntimeFailure:
            _restore(rotated, path)
            raise


def _moved(path: Path, now: float) -> Path:
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%d-%H%M%S")
    return path.rename(path.with_name(f"{path.name}.{stamp}"))


def _restore(rotated: Path, path: Path) -> None:
    rotated.rename(path)


def rotated_logs(path: Path) -> list[Path]:
    """Of one log, oldest first."""
    return sorted(each for each in path.parent.glob(f"{path.name}.*") if each.is_file())


def prepare(path: Path, max_files: int) -> None:
    """Make room for one more rotated log: drop the oldest, compress the rest. Raises OSError."""
    found = []
    for each in rotated_logs(path):
        # Left behind when a compression was interrupted: the log, or the half-made archive.
        if each.name.endswith(UNFINISHED) or each.with_name(each.name + COMPRESSED).exists():
            each.unlink()
        else:
            found.append(each)
    kept = max(max_files - 2, 0)
    for each in found[: len(found) - kept]:
        each.unlink()
    for each in found[max(len(found) - kept, 0) :]:
        if not each.name.endswith(COMPRESSED):
            compress(each)


def compress(path: Path) -> None:
    unfinished = path.with_name(path.name + UNFINISHED)
    with path.open("rb") as source, gzip.open(unfinished, "wb", compresslevel=6) as target:
        shutil.copyfileobj(source, target)
    unfinished.rename(path.with_name(path.name + COMPRESSED))
    path.unlink()


def remove(path: Path) -> None:
    """A container's log with what was rotated of it."""
    for each in (path, *rotated_logs(path)):
        each.unlink(missing_ok=True)
