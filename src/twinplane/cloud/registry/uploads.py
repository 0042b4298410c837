"""Blobs that are being pushed: each a file that grows by requests, with the digest of what it has so far."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import AsyncIterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twinplane.clock import Clock
from twinplane.cloud.registry.errors import RegistryError
from twinplane.images.store import ImageStore

MOST = 64
IDLE_SECONDS = 3600.0


@dataclass(slots=True)
class _Upload:
    path: Path
    touched: float
    size: int = 0
    digest: Any = field(default_factory=hashlib.sha256)


class Uploads:
    def __init__(self, store: ImageStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._open: dict[str, _Upload] = {}

    def begin(self) -> str:
        """Its id. Raises `RegistryError` when there are too many."""
        now = self._clock.now()
        for name in [name for name, upload in self._open.items() if now - upload.touched > IDLE_SECONDS]:
            self.cancel(name)
        if len(self._open) >= MOST:
            raise RegistryError("TOOMANYREQUESTS", "too many uploads at the same time")
        name = str(uuid.uuid4())
        self._open[name] = _Upload(self._store.uploads() / name, now)
        self._open[name].path.touch(mode=0o600)
        return name

    def size(self, name: str) -> int:
        return self._find(name).size

    async def append(self, name: str, chunks: AsyncIterable[bytes], start: int | None = None) -> int:
        """The size so far. `start` is where the sender thinks that it goes on."""
        upload = self._find(name)
        if start is not None and start != upload.size:
            raise RegistryError("RANGE_INVALID", f"the upload has {upload.size} bytes")
        with upload.path.open("ab") as file:
            async for chunk in chunks:
                file.write(chunk)
                upload.digest.update(chunk)
                upload.size += len(chunk)
        upload.touched = self._clock.now()
        return upload.size

    def finish(self, name: str, digest: str) -> None:
        """Make it a blob. Raises `RegistryError` when its content has another digest."""
        upload = self._find(name)
        found = f"sha256:{upload.digest.hexdigest()}"
        if found != digest:
            self.cancel(name)
            raise RegistryError("DIGEST_INVALID", f"the content has the digest {found}, not {digest}")
        del self._open[name]
        self._store.keep(upload.path, digest)

    def cancel(self, name: str) -> None:
        upload = self._find(name)
        del self._open[name]
        if upload.path.exists():
            os.unlink(upload.path)

    def _find(self, name: str) -> _Upload:
        upload = self._open.get(name)
        if upload is None:
            raise RegistryError("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        return upload
