"""Kubeconfig entries, named as eksctl names them, and the merge into a file that is already there."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import yaml

from twinplane.cli.output import CommandError
from twinplane.region.data_directory import HOME_VARIABLE, DataDirectory, write_atomically


def entry_name(cluster: str, region: str) -> str:
    return f"{cluster}.{region}.eksctl.io"


def user_files(given: str | None, directory: DataDirectory) -> list[Path]:
    """Where an entry goes: the file that kubectl reads, and the region's own that `twinplane env` exports."""
    named = given or os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    own = Path(named).expanduser() if named else Path("~/.kube/config").expanduser()
    return list(dict.fromkeys([own.absolute(), directory.kubeconfig]))


def write(files: list[Path], cluster: dict[str, Any], user: str, directory: DataDirectory, region: str) -> None:
    """Add or replace the cluster's entry in every file and make it current."""
    name = entry_name(cluster["name"], region)
    context = f"{user}@{name}"
    server = {
        "server": cluster["endpoint"],
        "certificate-authority-data": cluster["certificateAuthority"]["data"],
    }
    for path in files:
        config = _read(path)
        _put(config, "clusters", name, {"cluster": server})
        _put(config, "users", context, {"user": {"exec": _exec(cluster["name"], directory)}})
        _put(config, "contexts", context, {"context": {"cluster": name, "user": context}})
        config["current-context"] = context
        _save(path, config)


def remove(files: list[Path], cluster: str, region: str) -> None:
    """Drop the cluster's entries; the current context is cleared only when it was this cluster's."""
    name = entry_name(cluster, region)
    for path in files:
        if not path.exists():
            continue
        config = _read(path)
        for section in ("clusters", "users", "contexts"):
            kept = [e for e in config[section] if e["name"] != name and not e["name"].endswith("@" + name)]
            config[section] = kept
        if config.get("current-context", "").endswith("@" + name):
            config["current-context"] = ""
        _save(path, config)


def _exec(cluster: str, directory: DataDirectory) -> dict[str, Any]:
    return {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": sys.executable,
        "args": ["-P", "-m", "twinplane.cli.main", "token", "--cluster", cluster],
        "env": [{"name": HOME_VARIABLE, "value": str(directory.root)}],
        "interactiveMode": "Never",
        "provideClusterInfo": False,
    }


def _put(config: dict[str, Any], section: str, name: str, content: dict[str, Any]) -> None:
    others = [entry for entry in config[section] if entry["name"] != name]
    config[section] = [*others, {"name": name, **content}]


def _read(path: Path) -> dict[str, Any]:
    try:
        config = yaml.safe_load(path.read_text()) if path.exists() else {}
    except (yaml.YAMLError, OSError) as error:
        raise CommandError(f"cannot read the kubeconfig {path}: {error}") from error
    config = config or {}
    if not isinstance(config, dict):
        raise CommandError(f"{path} is not a kubeconfig")
    config.setdefault("apiVersion", "v1")
    config.setdefault("kind", "Config")
    for section in ("clusters", "users", "contexts"):
        config[section] = config.get(section) or []
    return config


def _save(path: Path, config: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, yaml.safe_dump(config, sort_keys=False))
    except OSError as error:
        raise CommandError(f"cannot write the kubeconfig {path}: {error.strerror}") from error
