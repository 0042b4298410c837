"""How well-known packages run as containers: what the official images of these programs start, expose and link.

`image pack nginx:1.25 --apt nginx` gives an image that runs like Docker Hub's; flags of the command line win.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from twinplane.images.pack_recipe import Recipe


@dataclass(frozen=True, slots=True)
class Program:
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: str = ""
    ports: tuple[str, ...] = ()
    working_directory: str = ""
    links: dict[str, str] = field(default_factory=dict)
    """Path in the image -> what it shall link to."""


_STDOUT, _STDERR = "/dev/stdout", "/dev/stderr"

PROGRAMS = {
    "nginx": Program(
        command=("nginx", "-g", "daemon off;"),
        ports=("80",),
        links={
            "/var/log/nginx/access.log": _STDOUT,
            "/var/log/nginx/error.log": _STDERR,
            # Where people mount their pages.
            "/var/www/html": "/usr/share/nginx/html",
        },
    ),
    "redis-server": Program(
        command=("redis-server", "--protected-mode", "no", "--dir", "/data"), ports=("6379",), working_directory="/data"
    ),
    "prometheus": Program(
        entrypoint=("/usr/bin/prometheus",),
        command=("--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"),
        ports=("9090",),
        working_directory="/prometheus",
    ),
    "prometheus-node-exporter": Program(entrypoint=("/usr/bin/prometheus-node-exporter",), ports=("9100",)),
    "busybox-static": Program(command=("sh",)),
    "busybox": Program(command=("sh",)),
    "bash": Program(command=("bash",)),
    "python3": Program(command=("python3",)),
    "iperf3": Program(entrypoint=("iperf3",), command=("-s",), ports=("5201",)),
    "curl": Program(entrypoint=("curl",)),
    "memcached": Program(command=("memcached", "-u", "memcache"), ports=("11211",)),
    "haproxy": Program(command=("haproxy", "-W", "-db", "-f", "/etc/haproxy/haproxy.cfg")),
    "apache2": Program(command=("apachectl", "-D", "FOREGROUND"), ports=("80",)),
}
"""By the package that is asked for; the first one that is here counts."""
FLAVOURS = dict.fromkeys(("nginx-light", "nginx-core", "nginx-full", "nginx-extras"), "nginx") | {
    "redis": "redis-server"
}
"""Packages that bring the same program with other modules."""


def program_of(packages: Iterable[str]) -> Program | None:
    names = (FLAVOURS.get(name, name) for name in packages)
    return next((PROGRAMS[name] for name in names if name in PROGRAMS), None)


def completed(recipe: Recipe) -> Recipe:
    """The recipe with what it does not say as the program has it."""
    program = program_of(recipe.apt)
    if program is None:
        return recipe
    starts = bool(recipe.entrypoint or recipe.command)
    return replace(
        recipe,
        entrypoint=recipe.entrypoint if starts else program.entrypoint,
        command=recipe.command if starts else program.command,
        user=recipe.user or program.user,
        ports=recipe.ports or program.ports,
        working_directory=recipe.working_directory or program.working_directory,
    )


def link(root: Path, recipe: Recipe) -> None:
    """Links of the programs, their working directory, and busybox's applets where nothing better is."""
    program = program_of(recipe.apt)
    for name, target in program.links.items() if program else ():
        path = root / name[1:]
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.symlink_to(target)
    if recipe.working_directory:
        (root / recipe.working_directory.lstrip("/")).mkdir(parents=True, exist_ok=True)
    busybox = root / "bin/busybox"
    if busybox.exists():
        listed = subprocess.run([busybox, "--list-full"], capture_output=True, text=True, check=False)
        for name in listed.stdout.split():
            path = root / name
            if not path.exists() and not path.is_symlink():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to("/bin/busybox")
