"""Registry credentials out of pull secrets (`kubernetes.io/dockerconfigjson`, `dockercfg`). Pure.

Which entry is for an image: the host with its globs label by label, then the path as a prefix; longer entries first.
Source: upstream's `credentialprovider/keyring.go`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

import orjson
from cri_api.v1 import api_pb2 as cri

from twinplane.dataplane.kubelet.images.names import ImageName
from twinplane.kubeclient.contract import Object

KEYS = (".dockerconfigjson", ".dockercfg")
DOCKER_HUB = ("index.docker.io", "registry-1.docker.io", "docker.io")


def credentials(secrets: Iterable[Object], image: ImageName) -> list[cri.AuthConfig]:
    """In the order in which they are to be tried."""
    found: list[tuple[str, cri.AuthConfig]] = []
    for secret in secrets:
        for server, entry in _entries(secret):
            auth = _auth(entry)
            if auth is not None and _matches(server, image):
                found.append((_stripped(server), auth))
    found.sort(key=lambda item: item[0], reverse=True)
    return [auth for _, auth in found]


def _entries(secret: Object) -> Iterable[tuple[str, dict[str, Any]]]:
    data = secret.get("data") or {}
    for key in KEYS:
        if key not in data:
            continue
        try:
            loaded = orjson.loads(base64.b64decode(data[key]))
        except (binascii.Error, orjson.JSONDecodeError):
            continue
        entries = loaded.get("auths") if key == ".dockerconfigjson" and isinstance(loaded, dict) else loaded
        if isinstance(entries, dict):
            yield from ((server, entry) for server, entry in entries.items() if isinstance(entry, dict))


def _auth(entry: dict[str, Any]) -> cri.AuthConfig | None:
    user, password = entry.get("username") or "", entry.get("password") or ""
    if entry.get("auth"):
        try:
            user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
    if not user and not password:
        return None
    return cri.AuthConfig(username=user, password=password)


def _stripped(server: str) -> str:
    for prefix in ("https://", "http://"):
        server = server.removeprefix(prefix)
    for suffix in ("/v1", "/v1/", "/v2", "/v2/"):
        server = server.removesuffix(suffix)
    return server.rstrip("/")


def _matches(server: str, image: ImageName) -> bool:
    host, _, path = _stripped(server).partition("/")
    if host in DOCKER_HUB:
        host = "docker.io"
    host, _, port = host.partition(":")
    there, _, there_port = image.registry.partition(":")
    if port and port != there_port:
        return False
    wanted, labels = host.split("."), there.split(".")
    if len(wanted) != len(labels) or not all(
        fnmatchcase(label, glob) for glob, label in zip(wanted, labels, strict=True)
    ):
        return False
    return image.repository.startswith(path)
