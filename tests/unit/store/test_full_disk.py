"""A disk that is really full: a tmpfs of one megabyte, in a mount namespace of its own (so it needs root)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import asyncio, sys
from pathlib import Path
from tests.unit.store.values import FixedClock, stamp
from twinplane.controlplane.store.contract import StorageFull
from twinplane.controlplane.store.embedded import EmbeddedStore

async def main():
    directory = Path(sys.argv[1])
    store = await EmbeddedStore.open(directory / "store.db", stamp=stamp, clock=FixedClock())
    ballast = directory / "ballast"
    ballast.write_bytes(b"x" * 700_000)
    written = []
    try:
        while True:
            written.append(await store.create(f"/{len(written)}", b"x" * 2000))
    except StorageFull:
        pass
    assert written and store.revision == written[-1].revision
    ballast.unlink()
    after = await store.create("/after", b"x" * 2000)
    assert after.revision == written[-1].revision + 1
    await store.close()
    store = await EmbeddedStore.open(directory / "store.db", stamp=stamp, clock=FixedClock())
    assert (await store.range("")).records == sorted([*written, after])
    await store.close()

asyncio.run(main())
"""


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare")
def test_a_full_disk(tmp_path: Path) -> None:
    mount = f'mount -t tmpfs -o size=1m tmpfs {tmp_path} && exec {sys.executable} -c "$0" {tmp_path}'
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, SCRIPT], capture_output=True, text=True, timeout=300, check=False
    )
    if "mount:" in result.stderr or "unshare" in result.stderr:
        pytest.skip(f"no mounts here: {result.stderr.strip()}")
    assert result.returncode == 0, result.stderr
