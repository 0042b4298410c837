"""Blobs, tags and layers: the same files make the same image; what nothing refers to goes."""

from __future__ import annotations

import json
import os
import tarfile
import time
from pathlib import Path

import pytest

from twinplane.images.archive import BadArchive, export, load
from twinplane.images.layer import add_layer
from twinplane.images.pack import CannotPack, Recipe, configuration, pack, put_image
from twinplane.images.reference import parse
from twinplane.images.store import UNREFERENCED_SECONDS, ImageStore

NGINX, OTHER = parse("nginx:1.25"), parse("quay.io/org/web:1")


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


def tree(root: Path) -> Path:
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/tool").write_text("#!/bin/sh\n")
    (root / "usr/bin/tool").chmod(0o755)
    os.link(root / "usr/bin/tool", root / "usr/bin/twin")
    (root / "bin").symlink_to("usr/bin")
    (root / "a").write_text("a")
    return root


def make(store: ImageStore, root: Path, name: str = "nginx:1.25") -> str:
    layer = add_layer(store, tree(root))
    return put_image(store, parse(name), [layer], configuration(Recipe(command=("tool",)), [layer.digest])).digest


def test_the_same_files_at_another_time_are_the_same_layer(store: ImageStore, tmp_path: Path) -> None:
    first = add_layer(store, tree(tmp_path / "one"))
    second = tree(tmp_path / "two")
    os.utime(second / "a", (1, 1))
    assert add_layer(store, second) == first
    with tarfile.open(store.blob(first.digest)) as layer:
        found = {member.name: member for member in layer.getmembers()}
    assert list(found) == ["a", "bin", "usr", "usr/bin", "usr/bin/tool", "usr/bin/twin"]
    assert found["usr/bin/twin"].islnk()
    assert found["bin"].linkname == "usr/bin"
    assert {member.mtime for member in found.values()} == {0}


def test_tags_name_manifests(store: ImageStore, tmp_path: Path) -> None:
    digest = make(store, tmp_path / "root")
    found = store.find(NGINX)
    assert found is not None
    assert found.digest == digest
    assert store.find(parse(f"nginx@{digest}")) == found
    assert store.find(parse("nginx:2")) is None
    assert store.find(OTHER) is None
    assert store.tag(NGINX, OTHER)
    assert not store.tag(parse("none:1"), OTHER)
    assert store.references() == [NGINX, OTHER]
    assert store.tags("quay.io", "org/web") == ["1"]
    assert store.size(NGINX) == store.size(OTHER) > 0


def test_a_digest_goes_with_its_tags(store: ImageStore, tmp_path: Path) -> None:
    digest = make(store, tmp_path / "root")
    store.tag(NGINX, parse("nginx:stable"))
    assert store.remove(parse(f"nginx@{digest}"))
    assert store.references() == []
    assert not store.remove(NGINX)


def test_garbage_is_what_no_tag_leads_to(store: ImageStore, tmp_path: Path) -> None:
    make(store, tmp_path / "root")
    kept = store.size(NGINX)
    store.add(b"left behind by a push that failed")
    later = time.time() + UNREFERENCED_SECONDS + 1
    assert store.collect(time.time()) == 0
    assert store.collect(later) == 33
    assert store.size(NGINX) == kept
    store.remove(NGINX)
    assert store.collect(later) > kept


def test_out_and_in_again(store: ImageStore, tmp_path: Path) -> None:
    digest = make(store, tmp_path / "root")
    export(store, NGINX, tmp_path / "nginx.tar")
    other = ImageStore(tmp_path / "other")
    assert load(other, tmp_path / "nginx.tar") == [NGINX]
    assert load(other, tmp_path / "nginx.tar", OTHER) == [OTHER]
    found = other.find(OTHER)
    assert found is not None
    assert found.digest == digest
    with pytest.raises(LookupError):
        export(store, OTHER, tmp_path / "none.tar")


def docker_archive(path: Path, layer: Path, tags: list[str]) -> None:
    """As `docker save` writes it."""
    config = path.with_suffix(".json")
    config.write_text(json.dumps(configuration(Recipe(command=("tool",)), ["sha256:" + "1" * 64])))
    manifest = path.with_suffix(".manifest")
    manifest.write_text(json.dumps([{"Config": "config.json", "RepoTags": tags, "Layers": ["layer/layer.tar"]}]))
    with tarfile.open(path, "w:gz") as archive:
        for file, name in ((config, "config.json"), (manifest, "manifest.json"), (layer, "layer/layer.tar")):
            archive.add(file, name)


def test_docker_archives_get_a_manifest(store: ImageStore, tmp_path: Path) -> None:
    layer = store.blob(add_layer(store, tree(tmp_path / "root")).digest)
    docker_archive(tmp_path / "saved.tar", layer, ["web:1", "localhost:5000/web:2"])
    other = ImageStore(tmp_path / "other")
    assert [each.familiar for each in load(other, tmp_path / "saved.tar")] == ["web:1", "localhost:5000/web:2"]
    docker_archive(tmp_path / "nameless.tar", layer, [])
    with pytest.raises(BadArchive, match="no name"):
        load(other, tmp_path / "nameless.tar")
    assert load(other, tmp_path / "nameless.tar", NGINX) == [NGINX]


def test_archives_that_are_none(store: ImageStore, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(BadArchive):
        load(store, tmp_path / "text")
    with tarfile.open(tmp_path / "empty.tar", "w") as archive:
        archive.add(tmp_path / "text", "text")
    with pytest.raises(BadArchive, match="neither"):
        load(store, tmp_path / "empty.tar")


def test_damage_is_noticed(store: ImageStore, tmp_path: Path) -> None:
    digest = make(store, tmp_path / "root")
    layer = json.loads(store.read(digest))["layers"][0]["digest"]
    content = bytearray(store.read(layer))
    content[-1] ^= 1
    store.blob(layer).write_bytes(content)
    export(store, NGINX, tmp_path / "nginx.tar")
    with pytest.raises(BadArchive, match="damaged"):
        load(ImageStore(tmp_path / "other"), tmp_path / "nginx.tar")


def test_files_of_this_machine(store: ImageStore, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/index.html").write_text("hello")
    file = tmp_path / "tool"
    file.write_text("x")
    recipe = Recipe(
        add=((tmp_path / "site", "/srv"), (file, "/usr/bin/")),
        entrypoint=("/usr/bin/tool",),
        environment=("A=1",),
        ports=("80", "53/udp"),
        user="1000",
    )
    found = pack(store, tmp_path / "apt", OTHER, recipe)
    manifest = json.loads(store.read(found.digest))
    with tarfile.open(store.blob(manifest["layers"][0]["digest"])) as layer:
        assert layer.getnames() == ["srv", "srv/index.html", "usr", "usr/bin", "usr/bin/tool"]
    config = json.loads(store.read(manifest["config"]["digest"]))["config"]
    assert config["Entrypoint"] == ["/usr/bin/tool"]
    assert config["Env"][1:] == ["A=1"]
    assert sorted(config["ExposedPorts"]) == ["53/udp", "80/tcp"]
    assert config["User"] == "1000"
    with pytest.raises(CannotPack, match="there is no"):
        pack(store, tmp_path / "apt", OTHER, Recipe(add=((tmp_path / "none", "/x"),)))
    with pytest.raises(CannotPack, match="absolute"):
        pack(store, tmp_path / "apt", OTHER, Recipe(add=((file, "x"),)))
