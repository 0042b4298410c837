"""What maintainer scripts would have done, as far as a container needs it, without running any.

The skeleton of a merged-/usr system, users and groups (base-passwd's, and those that packages' scripts or sysusers.d
name), directories of tmpfiles.d, owners, alternatives, the bundle of certificate authorities, the cache of ldconfig.
Scripts are only read: simple commands with literal arguments are understood, everything else is skipped.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
DIRECTORIES = {
    # path: mode
    **dict.fromkeys(
        ("dev", "etc", "proc", "run", "sys", "usr", "var", "var/lib", "var/log", "var/cache", "home"), 0o755
    ),
    "root": 0o700,
    "tmp": 0o1777,
    "var/tmp": 0o1777,
    "run/lock": 0o1777,
}
LINKS = {"var/run": "../run", "var/lock": "../run/lock"}
UNNEEDED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/bug",
)
"""Left out of every image, as in Debian's slim ones."""
NSSWITCH = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n"
PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
GROUP = "root:x:0:\nnogroup:x:65534:\n"
FIRST_SYSTEM_ID = 100
_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


def make_skeleton(root: Path) -> None:
    for name, mode in DIRECTORIES.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name).chmod(mode)
    for name, target in LINKS.items():
        (root / name).symlink_to(target)
    for name in MERGED[:3]:
        (root / "usr" / name).mkdir(exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")
    if os.uname().machine == "x86_64":
        (root / "usr/lib64").mkdir()
        (root / "lib64").symlink_to("usr/lib64")


def complete(root: Path, scripts: list[str]) -> None:
    """After the packages are unpacked. `scripts` are their postinst scripts."""
    for path in UNNEEDED:
        shutil.rmtree(root / path, ignore_errors=True)
    _write_missing(root / "etc/nsswitch.conf", NSSWITCH)
    accounts = Accounts.read(root)
    commands = [command for script in scripts for command in simple_commands(script)]
    for command in commands:
        accounts.apply(command)
    accounts.read_sysusers(root)
    accounts.write(root)
    for command in commands:
        _directories_and_owners(root, command, accounts)
        _alternative(root, command)
        _link(root, command)
    _tmpfiles(root, accounts)
    _certificates(root)
    if shutil.which("ldconfig", path="/usr/sbin:/sbin"):
        (root / "etc/ld.so.conf").touch()
        subprocess.run(["/sbin/ldconfig", "-r", root], check=False, capture_output=True)
        # Not a cache of content but of times: it would make each layer another one.
        (root / "var/cache/ldconfig/aux-cache").unlink(missing_ok=True)


def simple_commands(script: str) -> Iterator[list[str]]:
    """The commands of a shell script, with variables that are set to literals put in."""
    variables: dict[str, str] = {}
    for line in script.replace("\\\n", " ").splitlines():
        text = re.sub(r"\$\{?(\w+)\}?", lambda found: variables.get(found[1], found[0]), line.strip())
        assigned = re.fullmatch(r"(\w+)=[\"']?([^\"'$`\s]*)[\"']?", text)
        if assigned:
            variables.setdefault(assigned[1], assigned[2])
            continue
        for part in re.split(r"&&|\|\||;|\bthen\b|\belse\b", text):
            try:
                words = shlex.split(part, comments=True)
            except ValueError:
                continue
            words = [word for word in words if word not in ("if", "!") and not re.match(r"[0-9]*[<>]", word)]
            if words:
                yield words


@dataclass(slots=True)
class Accounts:
    """/etc/passwd and /etc/group."""

    users: dict[str, list[str]] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Path) -> Accounts:
        masters = root / "usr/share/base-passwd"
        texts = []
        for file, master, least in (("passwd", "passwd.master", PASSWD), ("group", "group.master", GROUP)):
            found = next((p for p in (root / "etc" / file, masters / master) if p.exists()), None)
            texts.append(found.read_text() if found else least)
        tables = [{line.split(":")[0]: line.split(":") for line in text.splitlines() if line} for text in texts]
        return cls(*tables)

    def write(self, root: Path) -> None:
        for file, table in (("passwd", self.users), ("group", self.groups)):
            (root / "etc" / file).write_text("".join(":".join(row) + "\n" for row in table.values()))
        shadow = "".join(f"{name}:*:19000:0:99999:7:::\n" for name in self.users)
        (root / "etc/shadow").write_text(shadow)
        (root / "etc/shadow").chmod(0o640)

    def apply(self, words: list[str]) -> None:
        """`adduser --system ... NAME`, `useradd ... NAME`, `addgroup ... NAME`, `groupadd ... NAME`."""
        program, name = words[0].rpartition("/")[2], words[-1]
        if program in ("addgroup", "groupadd") and _NAME.fullmatch(name):
            self.add_group(name)
        if program in ("adduser", "useradd") and len(words) > 2:
            name = next((word for word in words[1:] if _NAME.fullmatch(word) and self._is_name(words, word)), "")
            if name:
                options = dict(pairwise(words))
                group = options.get("--ingroup") or options.get("--gid") or options.get("-g") or name
                home = options.get("--home") or options.get("--home-dir") or options.get("-d") or "/nonexistent"
                self.add_user(name, group if _NAME.fullmatch(group) else name, home)

    @staticmethod
    def _is_name(words: list[str], word: str) -> bool:
        """Not the argument of an option."""
        before = words[words.index(word) - 1]
        flags = {"--system", "--group", "--quiet", "--no-create-home", "--disabled-password", "--disabled-login", "-r"}
        return before in flags or not before.startswith("-") or "=" in before

    def add_group(self, name: str) -> str:
        if name not in self.groups:
            self.groups[name] = [name, "x", str(self._free_id(self.groups)), ""]
        return self.groups[name][2]

    def add_user(self, name: str, group: str, home: str) -> None:
        if name not in self.users:
            group_id = self.add_group(group)
            user_id = str(self._free_id(self.users))
            self.users[name] = [name, "x", user_id, group_id, "", home, "/usr/sbin/nologin"]

    @staticmethod
    def _free_id(table: dict[str, list[str]]) -> int:
        taken = {int(row[2]) for row in table.values()}
        return next(number for number in range(FIRST_SYSTEM_ID, 65536) if number not in taken)

    def read_sysusers(self, root: Path) -> None:
        for file in sorted((root / "usr/lib/sysusers.d").glob("*.conf")):
            for line in file.read_text().splitlines():
                words = shlex.split(line, comments=True)
                if len(words) > 1 and words[0] == "g":
                    self.add_group(words[1])
                elif len(words) > 1 and words[0] == "u":
                    self.add_user(words[1], words[1], words[4] if len(words) > 4 and words[4] != "-" else "/")

    def owner(self, text: str) -> tuple[int, int] | None:
        """`user:group` as numbers; -1 for what is not said."""
        user, _, group = text.replace(".", ":").partition(":")
        if (user and user not in self.users) or (group and group not in self.groups):
            return None
        return (int(self.users[user][2]) if user else -1, int(self.groups[group][2]) if group else -1)


def _directories_and_owners(root: Path, words: list[str], accounts: Accounts) -> None:
    program, paths = words[0].rpartition("/")[2], [word for word in words[1:] if word.startswith("/")]
    targets = [root / path[1:] for path in paths if "*" not in path and "$" not in path and ".." not in path]
    if program == "mkdir" or (program == "install" and "-d" in words):
        for target in targets:
            target.mkdir(parents=True, exist_ok=True)
    if program == "install" and "-d" in words:
        options = dict(pairwise(words))
        _chown(targets, accounts.owner(f"{options.get('-o', '')}:{options.get('-g', '')}"), recursive=False)
    if program == "chown":
        given = next((word for word in words[1:] if not word.startswith("-")), "")
        _chown(targets, accounts.owner(given), recursive="-R" in words)


def _chown(targets: list[Path], owner: tuple[int, int] | None, *, recursive: bool) -> None:
    if owner is None or os.geteuid() != 0:
        return
    for target in targets:
        if target.exists() and not target.is_symlink():
            os.chown(target, *owner, follow_symlinks=False)
            for found in target.rglob("*") if recursive else ():
                os.chown(found, *owner, follow_symlinks=False)


def _alternative(root: Path, words: list[str]) -> None:
    """`update-alternatives --install LINK NAME PATH PRIORITY`: the first one wins."""
    if words[0].endswith("update-alternatives") and "--install" in words:
        link, _, path = words[words.index("--install") + 1 :][:3]
        target = root / link.lstrip("/")
        if link.startswith("/") and "$" not in link + path and not target.is_symlink() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)


def _link(root: Path, words: list[str]) -> None:
    """`ln -s TARGET LINK`, e.g. of a default site that a server starts with."""
    paths = [word for word in words[1:] if not word.startswith("-")]
    flags = "".join(word for word in words[1:] if word.startswith("-") and not word.startswith("--"))
    if words[0] != "ln" or "s" not in flags or len(paths) != 2 or not paths[1].startswith("/"):
        return
    place = root / paths[1][1:]
    if "$" not in paths[0] + paths[1] and place.parent.is_dir() and not place.is_symlink() and not place.exists():
        place.symlink_to(paths[0])


def _tmpfiles(root: Path, accounts: Accounts) -> None:
    """`d PATH MODE USER GROUP`; /run stays for the runtime."""
    for file in sorted((root / "usr/lib/tmpfiles.d").glob("*.conf")):
        for line in file.read_text().splitlines():
            words = line.split()
            if len(words) < 5 or words[0] not in ("d", "D") or "%" in words[1] or not words[1].startswith("/"):
                continue
            target = root / re.sub(r"^/var/run/", "/run/", words[1])[1:]
            target.mkdir(parents=True, exist_ok=True)
            if words[2].isdigit():
                target.chmod(int(words[2], 8))
            owner = accounts.owner(":".join("" if word == "-" else word for word in words[3:5]))
            _chown([target], owner, recursive=False)


def _certificates(root: Path) -> None:
    """What update-ca-certificates makes of the package ca-certificates."""
    found = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    if found:
        bundle = root / "etc/ssl/certs/ca-certificates.crt"
        bundle.parent.mkdir(parents=True, exist_ok=True)
        bundle.write_text("".join(path.read_text().rstrip() + "\n" for path in found))


def _write_missing(path: Path, content: str) -> None:
    if not path.exists():
        path.write_text(content)
