"""What maintainer scripts would have done is read out of them; nothing is run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from twinplane.images.system_files import Accounts, complete, make_skeleton, simple_commands

REDIS = """#!/bin/sh
set -eu
USER="redis"
HOME=/var/lib/redis
if [ "$1" = "configure" ]; then
    adduser \\
        --system \\
        --home $HOME \\
        --quiet \\
        --group \\
        $USER || true
    mkdir -p /var/lib/redis && chown redis:redis /var/lib/redis
    chown -R $(id -u):0 /nothing
fi
update-alternatives --install /usr/bin/tool tool /usr/bin/tool-1 10
ln -s /etc/site/available /etc/site/enabled
rm -rf /
"""


def test_commands_with_literals_are_read() -> None:
    found = list(simple_commands(REDIS))
    assert ["adduser", "--system", "--home", "/var/lib/redis", "--quiet", "--group", "redis"] in found
    assert ["chown", "redis:redis", "/var/lib/redis"] in found


def test_users_directories_alternatives_and_links(tmp_path: Path) -> None:
    root = tmp_path / "root"
    make_skeleton(root)
    (root / "etc/site").mkdir()
    (root / "usr/share/doc/redis").mkdir(parents=True)
    (root / "usr/share/ca-certificates/mozilla").mkdir(parents=True)
    (root / "usr/share/ca-certificates/mozilla/one.crt").write_text("ONE\n")
    (root / "usr/lib/sysusers.d").mkdir()
    (root / "usr/lib/sysusers.d/x.conf").write_text('g render -\nu exporter - "an exporter" /var/lib/exporter\n')
    complete(root, [REDIS])
    users = {line.split(":")[0]: line.split(":") for line in (root / "etc/passwd").read_text().splitlines()}
    assert users["redis"][5] == "/var/lib/redis"
    assert users["exporter"][5] == "/var/lib/exporter"
    assert users["root"][2:4] == ["0", "0"]
    groups = (root / "etc/group").read_text()
    assert f"\nredis:x:{users['redis'][3]}:" in groups
    assert "\nrender:x:" in groups
    assert (root / "var/lib/redis").is_dir()
    if os.geteuid() == 0:
        assert (root / "var/lib/redis").stat().st_uid == int(users["redis"][2])
    assert os.readlink(root / "usr/bin/tool") == "/usr/bin/tool-1"
    assert os.readlink(root / "etc/site/enabled") == "/etc/site/available"
    assert os.readlink(root / "var/run") == "../run"
    assert not (root / "usr/share/doc").exists()
    assert (root / "etc/ssl/certs/ca-certificates.crt").read_text() == "ONE\n"
    assert os.readlink(root / "bin") == "usr/bin"


@pytest.mark.parametrize(
    ("command", "name", "group"),
    [
        ("adduser --system --no-create-home --ingroup www-data web", "web", "www-data"),
        ("useradd -r -g daemon -d /srv web", "web", "daemon"),
        ("adduser --quiet --system --group --gecos Daemon web", "web", "web"),
    ],
)
def test_forms_of_adduser(command: str, name: str, group: str) -> None:
    accounts = Accounts({"root": ["root", "x", "0", "0"]}, {"root": ["root", "x", "0", ""]})
    accounts.apply(command.split())
    assert accounts.users[name][3] == accounts.groups[group][2]
    assert set(accounts.users) == {"root", name}
