"""The flags of `up` about stores, and what `store migrate` refuses before it touches anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.region.test_stores import ETCD, configuration
from twinplane.cli import store
from twinplane.cli.command import Parser
from twinplane.cli.main import main
from twinplane.cli.output import CommandError
from twinplane.region import launcher
from twinplane.region.data_directory import DataDirectory
from twinplane.region.settings import Settings

SERVERS = ("--etcd-servers", "https://127.0.0.1:2379, https://127.0.0.1:2380")


def settings_of(*arguments: str, known: Settings | None = None) -> dict[str, Any]:
    parser = Parser(prog="twinplane up")
    store.store_flags(parser)
    return store.store_settings(parser.parse_args(arguments), known or Settings())


def test_without_flags_nothing_changes() -> None:
    assert settings_of() == {}


def test_etcd_with_everything(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("ca", "crt", "key", "password")}
    for path in files.values():
        path.touch()
    found = settings_of(
        *("--store", "etcd", *SERVERS, "--control-plane-replicas", "3", "--etcd-prefix", "mine"),
        *("--etcd-cafile", str(files["ca"]), "--etcd-certfile", str(files["crt"]), "--etcd-keyfile", str(files["key"])),
        *("--etcd-user", "eks", "--etcd-password-file", str(files["password"])),
    )
    assert found["control_plane_replicas"] == 3
    etcd = found["etcd"]
    assert etcd.servers == ("https://127.0.0.1:2379", "https://127.0.0.1:2380")
    assert (etcd.prefix, etcd.ca_file, etcd.user) == ("/mine", str(files["ca"]), "eks")


def test_back_to_embedded_and_again_to_the_known_etcd() -> None:
    known = Settings(etcd=ETCD)
    assert settings_of("--store", "embedded", known=known) == {"etcd": None}
    assert settings_of("--store", "etcd", known=known) == {"etcd": ETCD}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--store", "etcd"), "needs --etcd-servers"),
        (SERVERS, "needs --store etcd"),
        (("--store", "embedded", *SERVERS), "needs --store etcd"),
        (("--store", "etcd", "--etcd-cafile", "x"), "--etcd-cafile needs --etcd-servers"),
        (("--store", "etcd", *SERVERS, "--etcd-cafile", "/nowhere/ca.crt"), "cannot read /nowhere/ca.crt"),
        (("--store", "etcd", "--etcd-servers", "127.0.0.1:2379"), "is not a URL like"),
        (("--store", "etcd", *SERVERS, "--etcd-user", "eks"), "needs a password file"),
        (("--control-plane-replicas", "2"), "needs --store etcd"),
        (("--store", "etcd", *SERVERS, "--control-plane-replicas", "0"), "between 1 and 9"),
        (("--store", "zookeeper"), "invalid choice"),
    ],
)
def test_one_sentence_for_each_mistake(arguments: tuple[str, ...], why: str) -> None:
    with pytest.raises(CommandError, match=why):
        settings_of(*arguments)


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    """A region that is down, with one cluster in the embedded store whose file is not there."""
    found = DataDirectory(tmp_path)
    found.create()
    Settings(access_key_id="k", secret_access_key="s").save(found.settings)
    folder = found.cluster("demo")
    folder.mkdir()
    stored = configuration(cluster="demo", store=str(folder / "store.sqlite"), issuer="https://x/id/0123456789ABCDEF")
    (folder / "controlplane.json").write_text(stored.dump())
    return found


def migrate(directory: DataDirectory, *arguments: str) -> int:
    return main(["store", "migrate", "--data-dir", str(directory.root), *arguments])


def test_migrate_says_what_is_wrong(directory: DataDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    cases = {
        ("--cluster", "demo", "--to", "etcd"): "--to etcd needs --etcd-servers",
        ("--cluster", "other", "--to", "etcd"): "No cluster found for name: other.",
        ("--cluster", "demo", "--to", "etcd", *SERVERS): "there is no store at",
    }
    for arguments, why in cases.items():
        assert migrate(directory, *arguments) == 1
        assert why in capsys.readouterr().err
    with launcher.daemon_lock(directory):
        assert migrate(directory, "--cluster", "demo", "--to", "etcd", *SERVERS) == 1
    assert "the region runs" in capsys.readouterr().err


def test_migrate_to_where_it_is_does_nothing(directory: DataDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert migrate(directory, "--cluster", "demo", "--to", "embedded") == 0
    path = directory.cluster("demo") / "controlplane.json"
    path.write_text(replace(configuration(cluster="demo"), etcd=ETCD).dump())
    assert migrate(directory, "--cluster", "demo", "--to", "etcd") == 0
    assert capsys.readouterr().out.count("already") == 2
