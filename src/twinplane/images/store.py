"""Where images lie: a directory of blobs named by their digests, and of tags that name manifests.

    DATA/images/
        blobs/sha256/HEX
        tags/REGISTRY/REPOSITORY/:TAG       content: digest of the manifest (no repository has a colon in its name)
        manifests/REGISTRY/REPOSITORY/:HEX  content: media type; a manifest belongs to a repository
        uploads/                            what is being written

Content-addressed and written by renames, so the command line, the daemon's registry and several writers need no lock.
A blob is shared by all repositories. What no manifest refers to any more goes with `collect`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from twinplane.images.reference import Reference

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFEST_TYPES = frozenset({MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX})

UNREFERENCED_SECONDS = 3600
"""A push writes blobs before the manifest that refers to them: younger ones are not garbage."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    digest: str
    size: int
    media_type: str

    def record(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


class Upload:
    """A blob that is being written; its digest is known at the end."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


class ImageStore:
    def __init__(self, directory: Path) -> None:
        """`directory` is DATA/images."""
        self._directory = directory

    # -- blobs -------------------------------------------------------------------------------------------------------

    def blob(self, digest: str) -> Path:
        return self._directory / "blobs" / digest.replace(":", "/")

    def uploads(self) -> Path:
        folder = self._directory / "uploads"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    @contextmanager
    def upload(self) -> Iterator[Upload]:
        """Write a blob; `keep` makes it one, or leaving the block throws it away."""
        path = self.uploads() / f"{os.getpid()}-{time.monotonic_ns()}"
        try:
            with path.open("xb") as file:
                yield Upload(path, file)
        finally:
            path.unlink(missing_ok=True)

    def keep(self, path: Path, digest: str) -> None:
        """Give a complete file its place, whose digest the caller has computed."""
        target = self.blob(digest)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.replace(target)

    def add(self, content: bytes, media_type: str = "") -> Descriptor:
        with self.upload() as upload:
            upload.write(content)
            upload.flush()
            self.keep(upload.path, upload.digest)
        return Descriptor(upload.digest, len(content), media_type)

    def read(self, digest: str) -> bytes:
        return self.blob(digest).read_bytes()

    # -- manifests and tags ------------------------------------------------------------------------------------------

    def put_manifest(self, reference: Reference, content: bytes, media_type: str) -> Descriptor:
        """Its blobs are there already. The tag, if the reference has no digest, names this manifest from now on."""
        found = self.add(content, media_type)
        self._write(self._manifest_file(reference, found.digest), media_type)
        if not reference.digest:
            self._write(self._tag_file(reference), found.digest)
        return found

    def find(self, reference: Reference) -> Descriptor | None:
        """The manifest of a tag or digest."""
        try:
            digest = reference.digest or self._tag_file(reference).read_text()
            media_type = self._manifest_file(reference, digest).read_text()
            return Descriptor(digest, self.blob(digest).stat().st_size, media_type)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def tag(self, source: Reference, target: Reference) -> bool:
        """Give an image another name; False when there is no such image."""
        found = self.find(source)
        if found is None:
            return False
        for child in self._children(found):
            self._write(self._manifest_file(target, child.digest), child.media_type)
        self._write(self._manifest_file(target, found.digest), found.media_type)
        self._write(self._tag_file(target), found.digest)
        return True

    def remove(self, reference: Reference) -> bool:
        """A tag; by digest the manifest with all its tags."""
        if not reference.digest:
            return _unlink(self._tag_file(reference))
        removed = _unlink(self._manifest_file(reference, reference.digest))
        for tag in self.tags(reference.registry, reference.repository):
            named = Reference(reference.registry, reference.repository, tag)
            with suppress(FileNotFoundError):
                if self._tag_file(named).read_text() == reference.digest:
                    _unlink(self._tag_file(named))
        return removed

    def tags(self, registry: str, repository: str) -> list[str]:
        folder = self._directory / "tags" / registry / repository
        return sorted(path.name[1:] for path in folder.glob(":*")) if folder.is_dir() else []

    def holds(self, registry: str, repository: str, digest: str) -> bool:
        """Whether a manifest of the repository refers to the blob."""
        folder = self._directory / "manifests" / registry / repository
        manifests = [f"sha256:{path.name[1:]}" for path in folder.glob(":*")] if folder.is_dir() else []
        return any(entry["digest"] == digest for each in manifests for entry in self._entries(each))

    def references(self) -> list[Reference]:
        top = self._directory / "tags"
        found = []
        for path in sorted(top.rglob(":*")) if top.is_dir() else []:
            registry, *repository = path.relative_to(top).parts[:-1]
            found.append(Reference(registry, "/".join(repository), path.name[1:]))
        return found

    def size(self, reference: Reference) -> int:
        """Bytes of configuration and layers, of all platforms."""
        found = self.find(reference)
        manifests = [] if found is None else [found, *self._children(found)]
        return sum(entry["size"] for manifest in manifests for entry in self._entries(manifest.digest))

    def collect(self, now: float) -> int:
        """Remove manifests that no tag names and blobs that no manifest refers to; how many bytes that freed."""
        used: set[str] = set()
        for reference in self.references():
            found = self.find(reference)
            for manifest in [] if found is None else [found, *self._children(found)]:
                used |= {manifest.digest, *(entry["digest"] for entry in self._entries(manifest.digest))}
        for path in (self._directory / "manifests").rglob("*"):
            if path.is_file() and f"sha256:{path.name[1:]}" not in used and _age(path, now) > UNREFERENCED_SECONDS:
                path.unlink()
        freed = 0
        for path in (self._directory / "blobs" / "sha256").glob("*"):
            if f"sha256:{path.name}" not in used and _age(path, now) > UNREFERENCED_SECONDS:
                freed += path.stat().st_size
                path.unlink()
        return freed

    def _children(self, manifest: Descriptor) -> list[Descriptor]:
        """The manifests of an index."""
        if manifest.media_type not in (INDEX, DOCKER_INDEX):
            return []
        entries = json.loads(self.read(manifest.digest)).get("manifests", [])
        found = [Descriptor(each["digest"], each["size"], each["mediaType"]) for each in entries]
        return [each for each in found if self.blob(each.digest).exists()]

    def _entries(self, digest: str) -> list[dict[str, Any]]:
        content = json.loads(self.read(digest))
        return [content["config"], *content.get("layers", ())] if "config" in content else []

    def _tag_file(self, reference: Reference) -> Path:
        return self._directory / "tags" / reference.registry / reference.repository / f":{reference.tag}"

    def _manifest_file(self, reference: Reference, digest: str) -> Path:
        name = digest.removeprefix("sha256:")
        return self._directory / "manifests" / reference.registry / reference.repository / f":{name}"

    def _write(self, path: Path, content: str) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self.uploads() / f"{os.getpid()}-{time.monotonic_ns()}"
        new.write_text(content)
        new.replace(path)

    def clear(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)


def _unlink(path: Path) -> bool:
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _age(path: Path, now: float) -> float:
    return now - path.stat().st_mtime
