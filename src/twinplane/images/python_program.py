"""The running interpreter with some packages as the root of an image: for programs of Twinplane that run as pods.

Everything lies where it lies on this machine, so that the interpreter finds it; nothing is downloaded, and program
and region are always of one version. Only Linux with glibc: the libraries are those that the loader says it needs
(`ldd`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

PROGRAM = Path("/opt/twinplane")
"""Where the packages lie in the image: its PYTHONPATH."""
_LEFT_OUT = (
    "__pycache__",
    "test",
    "tests",
    "idlelib",
    "tkinter",
    "turtledemo",
    "ensurepip",
    "lib2to3",
    "site-packages",
)
_LIBRARY = re.compile(r"(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)[^;]*(;.*)?$")


def stage(root: Path, *, distributions: Iterable[str], modules: Iterable[str]) -> list[str]:
    """Fill `root`; the command line of the interpreter in the image. `modules` are parts of the package `twinplane`, as
    paths relative to it (`kubeclient`, `clock.py`). Raises OSError."""
    interpreter = Path(os.path.realpath(sys.executable))
    library = Path(sysconfig.get_path("stdlib", vars={"base": sys.base_prefix, "installed_base": sys.base_prefix}))
    _copy(interpreter, root)
    shutil.copytree(
        library, _below(root, library), ignore=shutil.ignore_patterns(*_LEFT_OUT, "config-*"), dirs_exist_ok=True
    )
    place = _below(root, PROGRAM)
    for name in _closure(distributions):
        _copy_distribution(name, place)
    package = Path(__file__).parent.parent
    for module in ("__init__.py", *modules):
        _copy_module(package, module, place / "twinplane")
    loaded = [interpreter, *library.glob("lib-dynload/*.so"), *place.rglob("*.so")]
    for path in _libraries(loaded):
        _copy(path, root)
    return [str(interpreter), "-P"]


def _below(root: Path, path: Path) -> Path:
    return root / str(path).lstrip("/")


def _copy(path: Path, root: Path) -> None:
    target = _below(root, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, target)


def _copy_module(package: Path, module: str, place: Path) -> None:
    source, target = package / module, place / module
    for folder in Path(module).parents:
        if folder != Path("."):
            # A package on the way needs its own file.
            (place / folder).mkdir(parents=True, exist_ok=True)
            shutil.copy2(package / folder / "__init__.py", place / folder / "__init__.py")
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def _closure(names: Iterable[str]) -> list[str]:
    """With all that they require, extras left out; what is not installed is for another platform or Python."""
    found: dict[str, None] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        key = name.lower().replace("_", "-")
        if key in found:
            continue
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        found[key] = None
        for text in requires:
            match = _REQUIREMENT.match(text)
            if match and "extra" not in (match[2] or ""):
                waiting.append(match[1])
    return list(found)


def _copy_distribution(name: str, place: Path) -> None:
    for file in distribution(name).files or ():
        if ".." not in file.parts and "__pycache__" not in file.parts:
            target = place / str(file)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(Path(str(file.locate())), target)


def _libraries(binaries: Iterable[Path]) -> Iterator[Path]:
    listed = subprocess.run(
        ["ldd", *map(str, binaries)],
        capture_output=True,
        text=True,
        env={"PATH": os.defpath, "LC_ALL": "C"},
        check=False,
    )
    yield from sorted({Path(path) for path in _LIBRARY.findall(listed.stdout)})
