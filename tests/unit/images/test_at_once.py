"""Several processes that make the same images at the same time, on a machine that has none yet."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from twinplane.images.archive import export, load
from twinplane.images.pack import configuration, put_image
from twinplane.images.pack_recipe import Recipe
from twinplane.images.packages import Apt
from twinplane.images.reference import parse
from twinplane.images.store import LAYER, ImageStore

NAME = parse("registry.test/app:1")
APT_GET = """#!/bin/sh
mkdir "$(dirname "$0")/busy" || exit 100
sleep 0.02
rmdir "$(dirname "$0")/busy"
"""
"""Fails when another one is at work."""


def test_an_archive_that_several_write_is_whole(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "images")
    layer = store.add(b"x" * 3_000_000, LAYER)
    made = put_image(store, NAME, [layer], configuration(Recipe(), [layer.digest]))
    target = tmp_path / "app.tar"

    def write(_: int) -> None:
        for _ in range(10):
            export(store, NAME, target)

    with ThreadPoolExecutor(3) as writers:
        list(writers.map(write, range(3)))
    assert sorted(tmp_path.iterdir()) == [target, tmp_path / "images"]
    copy = ImageStore(tmp_path / "copy")
    assert load(copy, target) == [NAME]
    assert copy.find(NAME) == made


def test_packages_are_fetched_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "apt-get"
    program.parent.mkdir()
    program.write_text(APT_GET)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    with ThreadPoolExecutor(4) as callers:
        found = callers.map(lambda name: Apt(tmp_path / "apt").fetch([name]), "abcd")
        assert list(found) == [[]] * 4
