"""EBS volumes on the node: which are in use, where they are staged, and whether they are attached.

Everything is read from directories, laid out as the kubelet's CSI plugin does: `plugins/kubernetes.io/csi/DRIVER/HASH/`
holds the mount that pods share, each pod's `vol_data.json` names the volume. Nothing is kept in memory but what is
about to be mounted.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

from twinplane.dataplane.csi_node import DRIVER
from twinplane.dataplane.volumes.contract import Node, NotAttached
from twinplane.kubeclient.resources import VOLUME_ATTACHMENTS

PLUGIN = "kubernetes.io~csi"
VOLUME_DATA = "vol_data.json"
FIRST_WAIT, LONGEST_WAIT = 0.05, 1.0


def unique_name(handle: str) -> str:
    """As nodes list it in `status.volumesInUse`."""
    return f"kubernetes.io/csi/{DRIVER}^{handle}"


class Disks:
    def __init__(self, node: Node, changed: Callable[[], None]) -> None:
        """`changed` is called when `in_use` answers differently, so that the node's status can follow at once."""
        self._node = node
        self._changed = changed
        self._wanted: dict[str, int] = {}
        """Handle -> pods that are just mounting it."""
        self._locks: dict[str, asyncio.Lock] = {}

    # -- on disk -----------------------------------------------------------------------------------------------------

    def staging(self, handle: str) -> Path:
        digest = sha256(handle.encode()).hexdigest()
        return self._node.root / "plugins" / "kubernetes.io" / "csi" / DRIVER / digest

    def staged(self) -> list[str]:
        root = self._node.root / "plugins" / "kubernetes.io" / "csi" / DRIVER
        return sorted(filter(None, (_handle(path) for path in root.glob(f"*/{VOLUME_DATA}"))))

    def pods_with(self, handle: str) -> set[str]:
        """UIDs of the pods that have the volume mounted, or a device of it."""
        return {uid for uid, found in self._published() if found == handle}

    def _published(self) -> Iterator[tuple[str, str]]:
        pods = self._node.root / "pods"
        for path in pods.glob(f"*/volumes/{PLUGIN}/*/{VOLUME_DATA}"):
            yield path.parts[-5], _handle(path)
        for path in pods.glob(f"*/volumeDevices/{PLUGIN}/*"):
            if path.is_symlink():
                yield path.parts[-4], path.readlink().name

    def record(self, directory: Path, handle: str, volume: str) -> None:
        """Write down whose directory it is, before anything is mounted."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o750)
        content = {"driverName": DRIVER, "nodeName": self._node.name, "specVolID": volume, "volumeHandle": handle}
        temporary = directory / f".{VOLUME_DATA}"
        temporary.write_text(json.dumps(content | {"volumeLifecycleMode": "Persistent"}))
        temporary.rename(directory / VOLUME_DATA)

    def in_use(self) -> list[str]:
        handles = {*self.staged(), *self._wanted, *(handle for _, handle in self._published())}
        return sorted(unique_name(handle) for handle in handles if handle)

    def tell(self) -> None:
        self._changed()

    # -- mounting ----------------------------------------------------------------------------------------------------

    def lock(self, handle: str) -> asyncio.Lock:
        """Held while the volume is staged or taken down."""
        return self._locks.setdefault(handle, asyncio.Lock())

    def is_wanted(self, handle: str) -> bool:
        return handle in self._wanted

    def want(self, handle: str) -> None:
        self._wanted[handle] = self._wanted.get(handle, 0) + 1
        self._changed()

    def unwant(self, handle: str) -> None:
        left = self._wanted.pop(handle) - 1
        if left:
            self._wanted[handle] = left
        self._changed()

    async def attached(self, handle: str) -> Path:
        """The block device, when the controller has it attached and the region shows it.

        Raises `NotAttached` when that takes longer than pods may wait.
        """
        name = f"csi-{sha256(f'{handle}{DRIVER}{self._node.name}'.encode()).hexdigest()}"
        wait, attached = FIRST_WAIT, False
        try:
            async with asyncio.timeout(self._node.attach_seconds):
                while True:
                    attached = attached or await self._is_attached(name)
                    device = self.device(handle) if attached else None
                    if device is not None:
                        return device
                    await asyncio.sleep(wait)
                    wait = min(wait * 1.5, LONGEST_WAIT)
        except TimeoutError as error:
            raise NotAttached(handle) from error

    async def _is_attached(self, name: str) -> bool:
        try:
            attachment = await self._node.references.get(VOLUME_ATTACHMENTS.plural, "", name)
        except OSError:
            # Also when it does not exist yet: a node may not read it before.
            return False
        return bool(((attachment or {}).get("status") or {}).get("attached"))

    def device(self, handle: str) -> Path | None:
        """None while the volume is not attached. A loop device is only believed if it shows that volume."""
        link = self._node.devices / handle
        try:
            device = link.resolve(strict=True)
        except OSError:
            return None
        backing = Path("/sys/block") / device.name / "loop" / "backing_file"
        try:
            shown = backing.read_text().strip()
        except OSError:
            return device if device.is_block_device() and not device.name.startswith("loop") else None
        return device if Path(shown).name == f"{handle}.img" else None


def _handle(path: Path) -> str:
    try:
        return str(json.loads(path.read_text()).get("volumeHandle", ""))
    except (OSError, ValueError):
        return ""
