"""JSON on the node's disk: what a node needs to go on without its API server. Written whole, by rename, mode 0600."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import orjson

from twinplane.kubeclient.informer import SharedInformer

log = logging.getLogger(__name__)

SYNC_SECONDS = 4.0
COPY_SECONDS = 1.0


class Patience:
    """How long to wait for the first answer of a watch: less where a copy on disk will do, and that only once."""

    def __init__(self) -> None:
        self._until = asyncio.get_running_loop().time() + COPY_SECONDS

    async def wait(self, informer: SharedInformer, *, has_copy: bool) -> bool:
        """True when the informer has its list."""
        now = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(max(self._until - now, 0.0) if has_copy else SYNC_SECONDS):
                await informer.wait_synced()
        except TimeoutError:
            return informer.synced
        return True


class DiskTable:
    """One file a key. A file that cannot be read counts as absent: it is a copy, and the API server has the truth."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._written: dict[str, int] = {}
        """Hash of what was last written, so that what did not change is not written again."""

    def put(self, key: str, value: Any) -> None:
        data = orjson.dumps(value)
        digest = hash(data)
        if self._written.get(key) == digest:
            return
        path = self._path(key)
        temporary = path.with_name(f".{path.name}")
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(data)
            temporary.replace(path)
        except OSError as error:
            log.warning("%s: %s", path, error)
            return
        self._written[key] = digest

    def get(self, key: str) -> Any | None:
        return self._read(self._path(key))

    def remove(self, key: str) -> None:
        self._written.pop(key, None)
        self._path(key).unlink(missing_ok=True)

    def items(self) -> Iterator[tuple[str, Any]]:
        if not self._directory.is_dir():
            return
        for path in sorted(self._directory.glob("*.json")):
            value = self._read(path)
            if value is not None:
                yield unquote(path.name.removesuffix(".json")), value

    def keys(self) -> list[str]:
        if not self._directory.is_dir():
            return []
        return [unquote(path.name.removesuffix(".json")) for path in self._directory.glob("*.json")]

    def _path(self, key: str) -> Path:
        return self._directory / f"{quote(key, safe='')}.json"

    @staticmethod
    def _read(path: Path) -> Any | None:
        try:
            return orjson.loads(path.read_bytes())
        except (OSError, orjson.JSONDecodeError) as error:
            if not isinstance(error, FileNotFoundError):
                log.warning("%s: %s", path, error)
            return None
