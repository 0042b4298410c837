"""Images as one file: docker-save and OCI archives come in, OCI archives go out.

Content is copied as it is and checked against its digests; a docker-save archive, which has no manifest, gets one.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from twinplane.images.pack import put_image
from twinplane.images.reference import BadReference, Reference, parse
from twinplane.images.store import INDEX, LAYER, MANIFEST_TYPES, Descriptor, ImageStore

CHUNK = 1 << 20
NAME = "io.containerd.image.name"
REF = "org.opencontainers.image.ref.name"
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class BadArchive(Exception):
    """Not an archive of images, or one whose content is not what its digests say."""


def load(store: ImageStore, path: Path, name: Reference | None = None) -> list[Reference]:
    """All images of an archive, by their own names or, for a single one, by `name`. Raises `BadArchive`, OSError."""
    try:
        with tarfile.open(path, "r:*") as archive:
            members = {str(PurePosixPath(member.name)): member for member in archive.getmembers()}
            reader = _Reader(archive, members)
            if "index.json" in members and "oci-layout" in members:
                return _load_oci(store, reader, name)
            if "manifest.json" in members:
                return _load_docker(store, reader, name)
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, ValueError, KeyError, TypeError) as error:
        raise BadArchive(f"{path}: {error}") from error
    raise BadArchive(f"{path} has neither index.json (OCI) nor manifest.json (docker save)")


class _Reader:
    def __init__(self, archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo]) -> None:
        self._archive = archive
        self._members = members

    def has(self, name: str) -> bool:
        return name in self._members

    def open(self, name: str) -> IO[bytes]:
        member = self._members.get(str(PurePosixPath(name)))
        file = None if member is None else self._archive.extractfile(member)
        if file is None:
            raise BadArchive(f"the archive has no {name}")
        return file

    def json(self, name: str) -> Any:
        return json.load(self.open(name))


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk


# -- OCI ---------------------------------------------------------------------------------------------------------------


def _load_oci(store: ImageStore, reader: _Reader, name: Reference | None) -> list[Reference]:
    entries = reader.json("index.json")["manifests"]
    found = []
    for entry in entries:
        annotations = entry.get("annotations") or {}
        named = name if name and len(entries) == 1 else _named(annotations.get(NAME) or annotations.get(REF) or "")
        if named is None:
            raise BadArchive("the image has no name: give it one")
        _copy_manifest(store, reader, entry, named)
        found.append(named)
    return found


def _named(text: str) -> Reference | None:
    """A bare tag, as `skopeo` and `podman` write it, is no name."""
    try:
        return parse(text) if ":" in text or "/" in text else None
    except BadReference:
        return None


def _copy_manifest(
    store: ImageStore, reader: _Reader, entry: dict[str, Any], name: Reference, *, child: bool = False
) -> None:
    """A manifest with its blobs; of an index the platforms that the archive has."""
    content = reader.open(_blob_name(entry["digest"])).read()
    _check(entry["digest"], hashlib.sha256(content).hexdigest())
    manifest = json.loads(content)
    for inner in manifest.get("manifests", ()):
        if reader.has(_blob_name(inner["digest"])):
            _copy_manifest(store, reader, inner, name, child=True)
    for blob in [manifest["config"], *manifest["layers"]] if "config" in manifest else ():
        if not store.blob(blob["digest"]).exists():
            _copy_blob(store, reader.open(_blob_name(blob["digest"])), blob["digest"])
    media_type = entry.get("mediaType") or manifest.get("mediaType", "")
    if media_type not in MANIFEST_TYPES:
        raise BadArchive(f"{media_type or 'an entry without media type'} is not an image manifest")
    reference = Reference(name.registry, name.repository, name.tag, entry["digest"] if child else "")
    store.put_manifest(reference, content, media_type)


def _blob_name(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _copy_blob(store: ImageStore, file: IO[bytes], digest: str) -> None:
    with store.upload() as upload:
        for chunk in _chunks(file):
            upload.write(chunk)
        _check(digest, upload.digest)
        upload.flush()
        store.keep(upload.path, upload.digest)


def _check(digest: str, found: str) -> None:
    if digest.removeprefix("sha256:") != found.removeprefix("sha256:"):
        raise BadArchive(f"the content of {digest} is another one: the archive is damaged")


# -- docker save -------------------------------------------------------------------------------------------------------


def _load_docker(store: ImageStore, reader: _Reader, name: Reference | None) -> list[Reference]:
    images = reader.json("manifest.json")
    found: list[Reference] = []
    for image in images:
        names = [name] if name and len(images) == 1 else [parse(tag) for tag in image.get("RepoTags") or ()]
        if not names:
            raise BadArchive("the image has no name: give it one")
        config = reader.json(image["Config"])
        layers = [_docker_layer(store, reader.open(path)) for path in image["Layers"]]
        for target in names:
            put_image(store, target, layers, config)
        found += names
    return found


def _docker_layer(store: ImageStore, file: IO[bytes]) -> Descriptor:
    head = file.read(4)
    kind = LAYER + ("+gzip" if head.startswith(_GZIP) else "+zstd" if head == _ZSTD else "")
    with store.upload() as upload:
        upload.write(head)
        for chunk in _chunks(file):
            upload.write(chunk)
        upload.flush()
        store.keep(upload.path, upload.digest)
    return Descriptor(upload.digest, upload.size, kind)


# -- out ---------------------------------------------------------------------------------------------------------------


def export(store: ImageStore, name: Reference, path: Path) -> None:
    """An OCI archive of one image of one platform. Raises LookupError when there is none of that name."""
    found = store.find(name)
    if found is None:
        raise LookupError(f"there is no image {name}")
    manifest = json.loads(store.read(found.digest))
    annotations = {NAME: str(name), REF: name.tag}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [found.record() | {"annotations": annotations}]}
    # Several processes may need the same archive at once: each writes its own, and one of them stays.
    new = path.with_name(f"{path.name}.{os.getpid()}-{time.monotonic_ns()}")
    with tarfile.open(new, "w") as archive:
        _put(archive, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
        _put(archive, "index.json", json.dumps(index).encode())
        digests = [found.digest, manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]
        for digest in dict.fromkeys(digests):
            info = tarfile.TarInfo(_blob_name(digest))
            info.size = store.blob(digest).stat().st_size
            with store.blob(digest).open("rb") as file:
                archive.addfile(info, file)
    new.replace(path)


def _put(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))
