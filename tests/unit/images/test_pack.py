"""What is added to an image takes the place of what packages brought, links of theirs too, and is never written through
one."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from twinplane.images.pack import CannotPack, Recipe, pack
from twinplane.images.pack import _add as add
from twinplane.images.reference import parse
from twinplane.images.store import ImageStore


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Like what packages leave: links to files of the image, one of them absolute, and to a directory."""
    found = tmp_path / "root"
    (found / "usr/lib/old").mkdir(parents=True)
    (found / "usr/lib/old/kept").write_text("kept")
    (found / "usr/bin").mkdir()
    (found / "usr/bin/tool").symlink_to("../lib/old/kept")
    (found / "usr/bin/host").symlink_to(tmp_path / "outside")
    (found / "lib").symlink_to("usr/lib")
    (tmp_path / "outside").write_text("outside")
    return found


def test_a_directory_replaces_links(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "tool").write_text("new")
    (source / "host").write_text("new")
    (source / "link").symlink_to("tool")
    add(source, root, "/usr/bin")
    found = {name: (root / "usr/bin" / name).is_symlink() for name in ("tool", "host", "link")}
    assert found == {"tool": False, "host": False, "link": True}
    assert (root / "usr/bin/tool").read_text() == "new"
    assert (root / "usr/lib/old/kept").read_text() == "kept"
    assert (tmp_path / "outside").read_text() == "outside"


def test_a_file_replaces_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("one")
    add(tmp_path / "one", root, "/usr/bin/host")
    assert (root / "usr/bin/host").read_text() == "one"
    assert (tmp_path / "outside").read_text() == "outside"
    add(tmp_path / "one", root, "/etc/")
    assert (root / "etc/one").read_text() == "one"


def test_a_directory_goes_into_one_that_is_a_link(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "lib/old").mkdir(parents=True)
    (source / "lib/old/more").write_text("more")
    add(source, root, "/")
    assert (root / "lib").is_symlink()
    assert sorted(path.name for path in (root / "usr/lib/old").iterdir()) == ["kept", "more"]


@pytest.mark.parametrize(("source", "target"), [("there", "relative"), ("nowhere", "/etc/x")])
def test_what_cannot_be_added(root: Path, tmp_path: Path, source: str, target: str) -> None:
    (tmp_path / "there").write_text("")
    with pytest.raises(CannotPack, match="--add"):
        add(tmp_path / source, root, target)


def test_an_image_of_files_alone(tmp_path: Path) -> None:
    (tmp_path / "hello").write_text("hello")
    store, name = ImageStore(tmp_path / "images"), parse("hello:1")
    recipe = Recipe(add=((tmp_path / "hello", "/bin/"),), entrypoint=("/bin/hello",), user="7", minimal=True)
    first = pack(store, tmp_path / "apt", name, recipe)
    manifest = json.loads(store.read(first.digest))
    with tarfile.open(store.blob(manifest["layers"][0]["digest"])) as layer:
        assert "bin/hello" in layer.getnames()
    configured = json.loads(store.read(manifest["config"]["digest"]))["config"]
    assert (configured["Entrypoint"], configured["User"]) == (["/bin/hello"], "7")
    assert pack(store, tmp_path / "apt", name, recipe).digest == first.digest
