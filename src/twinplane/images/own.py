"""The images that nodes need themselves, made at first use out of packages and kept in the region's images."""

from __future__ import annotations

import tempfile
from pathlib import Path

from twinplane.images import reference
from twinplane.images.archive import export
from twinplane.images.pack import Recipe, ensure, pack
from twinplane.images.python_program import PROGRAM, stage
from twinplane.images.reference import Reference
from twinplane.images.store import Descriptor, ImageStore

PAUSE = reference.parse("localhost/kubernetes/pause:latest")
"""The name that the EKS-optimised image gives it."""
_PAUSE_RECIPE = Recipe(
    apt=("catatonit",),
    minimal=True,
    keep=("usr/bin/catatonit",),
    entrypoint=("/usr/bin/catatonit", "-P"),
    user="65535:65535",
)
"""catatonit's pause mode: one static process that waits and reaps, which a shared PID namespace needs."""


def pause_archive(directory: Path) -> Path:
    """An archive for `ctr images import`; `directory` is DATA/images. Raises `PackagesUnavailable`."""
    archive = directory / "pause.tar"
    if not archive.exists():
        store = ImageStore(directory)
        ensure(store, PAUSE, lambda: pack(store, directory / "apt", PAUSE, _PAUSE_RECIPE))
        export(store, PAUSE, archive)
    return archive


_COREDNS_DISTRIBUTIONS = ("aiohttp", "dnspython", "httptools", "orjson")
_COREDNS_MODULES = ("clock.py", "kubeclient", "nameserver", "dataplane/network/dns")


def ensure_coredns(directory: Path, name: str) -> None:
    """The image of the coredns add-on under its name in the region's registry. `directory` is DATA/images."""
    store = ImageStore(directory)
    ensure(store, reference.parse(name), lambda: _pack_coredns(store, directory, reference.parse(name)))


def _pack_coredns(store: ImageStore, directory: Path, name: Reference) -> Descriptor:
    with tempfile.TemporaryDirectory(dir=store.uploads(), prefix="coredns-") as folder:
        root = Path(folder, "root")
        root.mkdir(mode=0o755)
        command = stage(root, distributions=_COREDNS_DISTRIBUTIONS, modules=_COREDNS_MODULES)
        recipe = Recipe(
            add=((root, "/"),),
            entrypoint=(*command, "-m", "twinplane.dataplane.network.dns"),
            environment=(f"PYTHONPATH={PROGRAM}", "PYTHONDONTWRITEBYTECODE=1"),
            minimal=True,
        )
        return pack(store, directory / "apt", name, recipe)
