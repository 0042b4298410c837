"""Kubeconfig files: written for throwaway clusters, read for clusters that exist.

They are written as JSON, which is YAML as far as every client is concerned and costs no YAML library.
"""

from __future__ import annotations

import base64
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

NAME = "twinplane"


def kubeconfig(url: str, authority: str, user: dict[str, str]) -> str:
    """One cluster, one user, one context that is current; `authority` is PEM."""
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": NAME, "cluster": {"server": url, "certificate-authority-data": encoded(authority)}}],
        "users": [{"name": NAME, "user": user}],
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME}}],
        "current-context": NAME,
    }
    return json.dumps(body, indent=2) + "\n"


def encoded(pem: str) -> str:
    return base64.b64encode(pem.encode()).decode()


class UnusableKubeconfig(ValueError):
    """A kubeconfig that does not say how to reach a cluster."""


@dataclass(frozen=True)
class Access:
    """How the current context of a kubeconfig is reached."""

    url: str
    context: ssl.SSLContext | None
    """None for plain HTTP (`kubectl proxy`)."""
    token: str = ""
    command: tuple[str, ...] = ()
    """A credential plugin (`aws eks get-token`, ...): prints an ExecCredential."""
    environment: tuple[tuple[str, str], ...] = ()


def read_kubeconfig(path: Path) -> Access:
    """Raises `UnusableKubeconfig`, and OSError for a file that cannot be read."""
    import yaml

    try:
        body = yaml.safe_load(path.read_text())
        current = _named(body, "contexts", body["current-context"])["context"]
        cluster = _named(body, "clusters", current["cluster"])["cluster"]
        user = _named(body, "users", current["user"]).get("user") or {}
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise UnusableKubeconfig(f"{path} names no current cluster and user: {error}") from error
    url = str(cluster["server"])
    context = _context(cluster, user, path.parent) if url.startswith("https://") else None
    token = str(user.get("token") or "")
    if not token and user.get("tokenFile"):
        token = (path.parent / user["tokenFile"]).read_text().strip()
    plugin = user.get("exec") or {}
    command = (plugin["command"], *(plugin.get("args") or ())) if plugin else ()
    environment = tuple((str(entry["name"]), str(entry["value"])) for entry in plugin.get("env") or ())
    return Access(url, context, token, command, environment)


def _named(body: dict[str, Any], section: str, name: str) -> dict[str, Any]:
    found = next((entry for entry in body.get(section) or () if entry["name"] == name), None)
    if found is None:
        raise KeyError(f"no {name!r} among {section}")
    return dict(found)


def _context(cluster: dict[str, Any], user: dict[str, Any], folder: Path) -> ssl.SSLContext:
    authority = _pem(cluster, "certificate-authority", folder)
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate, key = _pem(user, "client-certificate", folder), _pem(user, "client-key", folder)
    if certificate and key:
        with TemporaryDirectory(prefix="twinplane-") as name:
            files = Path(name) / "client.crt", Path(name) / "client.key"
            for file, content in zip(files, (certificate, key), strict=True):
                file.write_bytes(content)
            context.load_cert_chain(*files)
    return context


def _pem(entry: dict[str, Any], field: str, folder: Path) -> bytes:
    if entry.get(f"{field}-data"):
        return base64.b64decode(entry[f"{field}-data"])
    return (folder / entry[field]).read_bytes() if entry.get(field) else b""
