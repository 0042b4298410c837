"""Debian packages as apt resolves them: the closure of what is asked for, downloaded once, unpacked into a directory.

Nothing is installed on this machine: apt is given an empty package database of its own. In that database the packages
that only maintainer scripts need are noted as installed, so that neither they nor what they need is fetched.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

SCRIPT_ONLY = (
    *("adduser", "cdebconf", "debconf", "dpkg", "init-system-helpers", "install-info", "libpam-runtime", "login"),
    *("lsb-base", "passwd", "perl-base", "sensible-utils", "systemd", "sysvinit-utils", "tar", "ucf", "usrmerge"),
    *("usr-is-merged", "cron", "logrotate", "libpam-systemd", "dbus", "policykit-1"),
)
"""Needed while packages are installed or by the host's own services; a container runs neither."""
_ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}


class PackagesUnavailable(Exception):
    """apt could not find or fetch them; the message is apt's."""


class Apt:
    def __init__(self, cache: Path) -> None:
        """`cache` keeps downloads and package lists (DATA/images/apt)."""
        self._cache = cache

    def fetch(self, names: Sequence[str]) -> list[Path]:
        """The archives of packages and all that they depend on. Raises `PackagesUnavailable`."""
        with self._alone():
            return self._fetch(names)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """In the cache, which several processes may have: apt's own locks are off, as they would make it fail."""
        self._cache.mkdir(parents=True, exist_ok=True)
        with (self._cache / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _fetch(self, names: Sequence[str]) -> list[Path]:
        self._prepare(names)
        host_lists, own_lists = Path("/var/lib/apt/lists"), self._cache / "lists"
        attempts = [host_lists, own_lists] if host_lists.is_dir() else [own_lists]
        reason = ""
        for lists in attempts:
            try:
                if lists == own_lists:
                    self._run(lists, "update")
                return self._download(lists, names)
            except subprocess.CalledProcessError as error:
                reason = _sentence(error.stderr)
            except FileNotFoundError as error:
                raise PackagesUnavailable("apt-get is not installed: packing needs Debian or one of its kin") from error
        raise PackagesUnavailable(reason)

    def _prepare(self, names: Iterable[str]) -> None:
        for folder in ("archives/partial", "none/partial", "lists/partial", "state"):
            (self._cache / folder).mkdir(parents=True, exist_ok=True)
        architecture = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=False)
        entries = [
            f"Package: {name}\nStatus: install ok installed\nVersion: 99:1\nMaintainer: none\n"
            f"Architecture: {architecture.stdout.strip()}\nMulti-Arch: foreign\nDescription: not needed\n"
            for name in SCRIPT_ONLY
            if name not in names
        ]
        (self._cache / "state/status").write_text("\n".join(entries))

    def _download(self, lists: Path, names: Sequence[str]) -> list[Path]:
        install = ("install", "--yes", "--no-install-recommends", *names)
        # Only of what is not in the cache does apt say the names: asked with an empty one it says all.
        uris = self._run(lists, *install, "--print-uris", "-qq", archives="none").splitlines()
        files = [self._cache / "archives" / line.split()[1] for line in uris if line.startswith("'")]
        if not all(file.exists() for file in files):
            self._run(lists, *install, "--download-only", "-qq")
        return sorted(files)

    def _run(self, lists: Path, *arguments: str, archives: str = "archives") -> str:
        options = {
            "Dir::State": self._cache / "state",
            "Dir::State::status": self._cache / "state/status",
            "Dir::State::lists": lists,
            "Dir::Cache": self._cache,
            "Dir::Cache::archives": self._cache / archives,
            "Debug::NoLocking": "1",
            "APT::Sandbox::User": "root" if os.geteuid() == 0 else "",
        }
        flags = [f"-o{key}={value}" for key, value in options.items()]
        environment = {**os.environ, **_ENVIRONMENT}
        command = ["apt-get", *flags, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def _sentence(stderr: str) -> str:
    errors = [line.removeprefix("E: ") for line in stderr.splitlines() if line.startswith("E: ")]
    return "; ".join(errors) or stderr.strip() or "apt-get failed"


def package_name(archive: Path) -> str:
    return unquote(archive.name).partition("_")[0]


def unpack(archive: Path, root: Path) -> None:
    """The package's files; directories that are links here (/bin to /usr/bin) stay links."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as packed:
        command = ["tar", "--extract", "--keep-directory-symlink", "--preserve-permissions", f"--directory={root}"]
        subprocess.run([*command, "--file=-"], stdin=packed.stdout, check=True)
    if packed.returncode != 0:
        raise PackagesUnavailable(f"{archive.name} is damaged")


def script(archive: Path, name: str = "postinst") -> str:
    """A maintainer script; empty when the package has none."""
    found = subprocess.run(["dpkg-deb", "--info", archive, name], capture_output=True, text=True, check=False)
    return found.stdout if found.returncode == 0 else ""
