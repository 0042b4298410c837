"""Making an image: packages of Debian and files of this machine as one layer, with a configuration."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twinplane.images import packages, programs, system_files
from twinplane.images.layer import add_layer
from twinplane.images.pack_recipe import Recipe
from twinplane.images.reference import Reference
from twinplane.images.store import CONFIG, MANIFEST, Descriptor, ImageStore

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BASE = ("base-files", "base-passwd", "ca-certificates", "coreutils", "dash", "grep", "libc-bin", "sed")
"""In every image that is not minimal: a shell and what one expects beside it."""
__all__ = ["BASE", "CannotPack", "Recipe", "configuration", "ensure", "pack", "put_image"]

EPOCH = "1970-01-01T00:00:00Z"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class CannotPack(Exception):
    """The message says what is wrong with what was asked for."""


def pack(store: ImageStore, cache: Path, name: Reference, recipe: Recipe) -> Descriptor:
    """Make the image and give it its name. Raises `CannotPack` and `PackagesUnavailable`."""
    recipe = programs.completed(recipe)
    with tempfile.TemporaryDirectory(dir=store.uploads(), prefix="root-") as folder:
        root = Path(folder, "root")
        root.mkdir(mode=0o755)
        _fill(root, cache, recipe)
        if recipe.keep:
            root = _kept(root, Path(folder, "kept"), recipe.keep)
        layer = add_layer(store, root)
    return put_image(store, name, [layer], configuration(recipe, [layer.digest]))


def _fill(root: Path, cache: Path, recipe: Recipe) -> None:
    wanted = [*recipe.apt, *(() if recipe.minimal else BASE)]
    archives = packages.Apt(cache).fetch(list(dict.fromkeys(wanted))) if recipe.apt else []
    if archives:
        system_files.make_skeleton(root)
        for archive in archives:
            packages.unpack(archive, root)
        system_files.complete(root, [packages.script(archive) for archive in archives])
        programs.link(root, recipe)
    for source, target in recipe.add:
        _add(source, root, target)


def _add(source: Path, root: Path, target: str) -> None:
    if not target.startswith("/"):
        raise CannotPack(f"--add {source}:{target}: the path in the image must be absolute")
    if not source.exists():
        raise CannotPack(f"--add {source}:{target}: there is no {source}")
    place = root / os.path.normpath(target).lstrip("/")
    if target.endswith("/") and source.is_file():
        place = place / source.name
    place.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        _make_way(source, place)
        shutil.copytree(source, place, symlinks=True, dirs_exist_ok=True)
    else:
        if place.is_symlink():
            place.unlink()
        shutil.copy2(source, place)


def _make_way(source: Path, place: Path) -> None:
    """What is added replaces what packages brought: a link of theirs would be written through, or be in the way."""
    for path in source.rglob("*"):
        there = place / path.relative_to(source)
        if there.is_symlink() and (path.is_symlink() or not path.is_dir()):
            there.unlink()


def _kept(root: Path, kept: Path, paths: Sequence[str]) -> Path:
    for path in paths:
        (kept / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / path, kept / path)
    return kept


def configuration(recipe: Recipe, layers: Sequence[str]) -> dict[str, Any]:
    """The OCI image configuration; `layers` are digests of uncompressed layers."""
    environment = list(recipe.environment)
    if not any(entry.startswith("PATH=") for entry in environment):
        environment.insert(0, PATH)
    machine = os.uname().machine
    settings: dict[str, Any] = {
        "User": recipe.user,
        "Env": environment,
        "Entrypoint": list(recipe.entrypoint) or None,
        "Cmd": list(recipe.command) or None,
        "WorkingDir": recipe.working_directory or "/",
        "ExposedPorts": {port if "/" in port else f"{port}/tcp": {} for port in recipe.ports} or None,
    }
    return {
        "created": EPOCH,
        "architecture": _ARCHITECTURES.get(machine, machine),
        "os": "linux",
        "config": {key: value for key, value in settings.items() if value},
        "rootfs": {"type": "layers", "diff_ids": list(layers)},
        "history": [{"created": EPOCH, "created_by": "twinplane image pack"}],
    }


def put_image(store: ImageStore, name: Reference, layers: Sequence[Descriptor], config: dict[str, Any]) -> Descriptor:
    described = store.add(json.dumps(config, sort_keys=True).encode(), CONFIG)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described.record(),
        "layers": [layer.record() for layer in layers],
    }
    return store.put_manifest(name, json.dumps(manifest, sort_keys=True).encode(), MANIFEST)


def ensure(store: ImageStore, name: Reference, make: Callable[[], Descriptor]) -> Descriptor:
    """The image of that name, made when there is none."""
    return store.find(name) or make()
