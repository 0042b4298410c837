"""File systems on block devices: made where there is none, checked, mounted, grown while they are in use.

Called by the EBS and local plugins. What a device holds is read from its superblock, as blkid does, without a fork;
making, checking and growing is left to the tools of the file system.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from twinplane.dataplane.volumes import mounts

TOOL_SECONDS = 300.0
UNFIXED = 4
"""Bits of fsck's status from which on errors are left."""
CAP_SYS_RESOURCE = 24
PROBED_BYTES = 68 * 1024


class FileSystemError(Exception):
    """A tool refused; the message has what it printed."""


class Superblock(NamedTuple):
    kind: str
    size: int
    """In bytes, as the file system believes."""


def probe(device: Path) -> Superblock | None:
    """None when the device is blank. Raises `FileSystemError` for content of an unknown kind, OSError."""
    with device.open("rb", buffering=0) as file:
        head = file.read(PROBED_BYTES)
    if head[1080:1082] == b"\x53\xef":
        block = 1024 << int.from_bytes(head[1048:1052], "little")
        blocks = int.from_bytes(head[1028:1032], "little")
        if int.from_bytes(head[1120:1124], "little") & 0x80:
            blocks |= int.from_bytes(head[1360:1364], "little") << 32
        return Superblock(_ext(head), blocks * block)
    if head[:4] == b"XFSB":
        return Superblock("xfs", int.from_bytes(head[4:8], "big") * int.from_bytes(head[8:16], "big"))
    if any(head):
        raise FileSystemError(f"{device} holds data that is no known file system; it is not formatted")
    return None


def _ext(head: bytes) -> str:
    compatible, incompatible = int.from_bytes(head[1116:1120], "little"), int.from_bytes(head[1120:1124], "little")
    if incompatible & 0x40:
        return "ext4"
    return "ext3" if compatible & 0x4 else "ext2"


def device_size(device: Path) -> int:
    descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.lseek(descriptor, 0, os.SEEK_END)
    finally:
        os.close(descriptor)


SPARSE = ("-E", "lazy_itable_init=1,lazy_journal_init=1")
"""A new disk is all zeros: writing them would make its file half a gigabyte large."""
MAKE: dict[str, tuple[str, ...]] = {
    "ext2": ("mkfs.ext2", "-F", "-m0"),
    "ext3": ("mkfs.ext3", "-F", "-m0", *SPARSE),
    "ext4": ("mkfs.ext4", "-F", "-m0", *SPARSE),
    "xfs": ("mkfs.xfs", "-f"),
}
ALWAYS = {"xfs": ("nouuid",)}
"""Two volumes from one snapshot have the same UUID, which XFS would refuse to mount."""


async def format_and_mount(
    device: Path, target: Path, kind: str, options: Sequence[str], *, read_only: bool = False
) -> None:
    """Idempotent. Raises `FileSystemError`, OSError."""
    if mounts.is_mounted(target):
        return
    present = await asyncio.to_thread(probe, device)
    if present is None:
        if read_only:
            raise FileSystemError(f"cannot mount unformatted disk {device} as we are manipulating it in read-only mode")
        if kind not in MAKE:
            raise FileSystemError(f"unsupported file system type {kind}")
        await run(*MAKE[kind], str(device))
    elif not read_only and present.kind != "xfs":
        await run(f"fsck.{present.kind}", "-a", str(device), accepted=range(UNFIXED))
    given = [*options, *ALWAYS.get(kind, ()), "ro" if read_only else "defaults"]
    make_directory(target)
    try:
        await run("mount", "-t", kind, "-o", ",".join(given), str(device), str(target))
    except FileSystemError as error:
        if present is not None and present.kind != kind:
            raise FileSystemError(
                f"failed to mount the volume as {kind!r}, it already contains {present.kind}. Mount error: {error}"
            ) from error
        raise


def make_directory(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True, mode=0o750)


def needs_growth(device: Path) -> bool:
    """The device has got larger than its file system by more than a block or so. Raises OSError."""
    try:
        present = probe(device)
    except FileSystemError:
        return False
    return present is not None and device_size(device) - present.size >= 1 << 20


def can_grow_mounted(kind: str) -> bool:
    """The kernel lets ext4 grow while it is mounted only who has CAP_SYS_RESOURCE, which some hosts withhold."""
    return kind == "xfs" or bool(_effective_capabilities() >> CAP_SYS_RESOURCE & 1)


def _effective_capabilities() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("CapEff:")[2].split()[0], 16)


async def grow(device: Path, mounted: Path) -> None:
    """While it is mounted. Raises `FileSystemError`."""
    present = await asyncio.to_thread(probe, device)
    if present is not None and present.kind == "xfs":
        await run("xfs_growfs", "-d", str(mounted))
    else:
        await run("resize2fs", str(device))


async def grow_unmounted(device: Path) -> None:
    """To the size of the device, where that is possible without mounting it. Raises `FileSystemError`."""
    present = await asyncio.to_thread(probe, device)
    if present is None or present.kind == "xfs":
        return
    await run("e2fsck", "-f", "-p", str(device), accepted=range(UNFIXED))
    await run("resize2fs", str(device))


async def run(*command: str, accepted: Sequence[int] = (0,)) -> None:
    """Raises `FileSystemError` with what the command printed."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
    except FileNotFoundError as error:
        raise FileSystemError(f"executable file {command[0]} not found in $PATH") from error
    try:
        async with asyncio.timeout(TOOL_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError as error:
        raise FileSystemError(f"{command[0]} did not end in {TOOL_SECONDS:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode not in accepted:
        text = output.decode(errors="replace").strip()
        raise FileSystemError(f"{' '.join(command)}: exit status {process.returncode}: {text}")
