"""image pack, import, ls, tag, rm: the images that nodes pull from the region before they ask the real registries.

They work on the directory of the images itself: no region needs to run.
"""

from __future__ import annotations

import argparse
import shlex
import time
from pathlib import Path
from typing import Any

from twinplane.cli.command import Command, output_flag
from twinplane.cli.output import CommandError, Progress, print_document, print_table
from twinplane.images.reference import BadReference, Reference, parse
from twinplane.images.store import ImageStore
from twinplane.region.data_directory import DataDirectory


def _directory(arguments: argparse.Namespace) -> Path:
    return DataDirectory.locate(arguments.data_dir).images


def _reference(text: str) -> Reference:
    try:
        found = parse(text)
    except BadReference as error:
        raise CommandError(str(error)) from error
    if found.digest:
        raise CommandError(f"{text}: a name with a tag is needed here, not a digest")
    return found


# -- pack --------------------------------------------------------------------------------------------------------------


def _pack_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="e.g. nginx:1.25, or with a registry: quay.io/org/app:1")
    parser.add_argument("--apt", metavar="PACKAGE", nargs="+", action="extend", default=[], help="Debian packages")
    parser.add_argument("--entrypoint", metavar="WORDS", help="quoted as in a shell")
    parser.add_argument("--cmd", metavar="WORDS", help="quoted as in a shell (default: as official images have it)")
    parser.add_argument("--user", default="", help="name or number, as USER[:GROUP]")
    parser.add_argument("--env", metavar="NAME=VALUE", action="append", default=[], help="may be repeated")
    parser.add_argument("--workdir", default="", help="working directory")
    parser.add_argument("--port", metavar="PORT[/PROTOCOL]", action="append", default=[], help="may be repeated")
    parser.add_argument("--add", metavar="SRC:DST", action="append", default=[], help="a file or directory to put in")
    parser.add_argument("--minimal", action="store_true", help="no shell and base system beside the packages")


def _pack(arguments: argparse.Namespace) -> None:
    from twinplane.images.pack import CannotPack, Recipe, pack
    from twinplane.images.packages import PackagesUnavailable

    name, directory = _reference(arguments.name), _directory(arguments)
    if not arguments.apt and not arguments.add:
        raise CommandError("nothing to pack: --apt or --add must be given")
    for entry in arguments.env:
        if "=" not in entry:
            raise CommandError(f"--env {entry}: NAME=VALUE is needed")
    recipe = Recipe(
        apt=tuple(arguments.apt),
        entrypoint=tuple(shlex.split(arguments.entrypoint or "")),
        command=tuple(shlex.split(arguments.cmd or "")),
        user=arguments.user,
        environment=tuple(arguments.env),
        working_directory=arguments.workdir,
        add=tuple(_added(entry) for entry in arguments.add),
        ports=tuple(arguments.port),
        minimal=arguments.minimal,
    )
    store = ImageStore(directory)
    try:
        pack(store, directory / "apt", name, recipe)
    except (CannotPack, PackagesUnavailable) as error:
        raise CommandError(str(error)) from error
    Progress().done(f"packed {name.familiar} ({_size(store.size(name))})")


def _added(entry: str) -> tuple[Path, str]:
    source, separator, target = entry.partition(":")
    if not separator or not target:
        raise CommandError(f"--add {entry}: SRC:DST is needed")
    return Path(source).expanduser().absolute(), target


# -- the others --------------------------------------------------------------------------------------------------------


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("archive", metavar="ARCHIVE", type=Path, help="made by docker save, skopeo, podman, ctr export")
    parser.add_argument("--name", help="for an archive of one image: its name (default: as the archive says)")


def _import(arguments: argparse.Namespace) -> None:
    from twinplane.images.archive import BadArchive, load

    name = _reference(arguments.name) if arguments.name else None
    try:
        found = load(ImageStore(_directory(arguments)), arguments.archive, name)
    except BadArchive as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"cannot read {arguments.archive}: {error.strerror}") from error
    for each in found:
        Progress().done(f"imported {each.familiar}")


def _list(arguments: argparse.Namespace) -> None:
    store = ImageStore(_directory(arguments))
    rows = [_row(store, reference) for reference in store.references()]
    if arguments.output != "table":
        print_document(rows, arguments.output)
    elif rows:
        print_table(("IMAGE", "DIGEST", "SIZE"), [(r["image"], r["digest"][7:19], _size(r["size"])) for r in rows])
    else:
        print("No images found")


def _row(store: ImageStore, reference: Reference) -> dict[str, Any]:
    found = store.find(reference)
    digest = found.digest if found else ""
    return {"image": reference.familiar, "digest": digest, "size": store.size(reference)}


def _tag_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("target", metavar="TARGET")


def _tag(arguments: argparse.Namespace) -> None:
    source, target = _reference(arguments.source), _reference(arguments.target)
    if not ImageStore(_directory(arguments)).tag(source, target):
        raise CommandError(f"there is no image {source.familiar}")


def _remove_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="+")


def _remove(arguments: argparse.Namespace) -> None:
    store = ImageStore(_directory(arguments))
    references = [_reference(name) for name in arguments.names]
    missing = [each.familiar for each in references if not store.remove(each)]
    store.collect(time.time())
    if missing:
        raise CommandError(f"there is no image {', '.join(missing)}")


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


PACK = Command("Make a container image out of Debian packages and files, without Docker", _pack_arguments, _pack)
IMPORT = Command("Take the images of a docker-save or OCI archive into the region", _import_arguments, _import)
LIST = Command("List the images of the region's registry", output_flag, _list)
TAG = Command("Give an image another name", _tag_arguments, _tag)
REMOVE = Command("Remove image names, and what they alone held", _remove_arguments, _remove)
