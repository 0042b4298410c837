"""Which etcd cluster, as whom, and under which prefix: kube-apiserver's `--etcd-*` flags as one record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

DEFAULT_PORT = 2379


class BadEtcdConfiguration(ValueError):
    """One sentence that names what to change."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    host: str
    port: int
    tls: bool

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class EtcdConfiguration:
    servers: tuple[str, ...]
    """URLs, e.g. `https://10.0.0.1:2379`; any that answers is used."""
    prefix: str
    """Every key of the cluster begins with it and a slash."""
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    user: str = ""
    password_file: str = ""
    """Holds the password alone, so that it is on no command line and in no other file."""

    def __post_init__(self) -> None:
        """Raises `BadEtcdConfiguration`."""
        object.__setattr__(self, "servers", tuple(self.servers))
        object.__setattr__(self, "prefix", "/" + self.prefix.strip("/"))
        if not self.servers:
            raise BadEtcdConfiguration("an etcd store needs at least one server")
        if bool(self.certificate_file) != bool(self.key_file):
            raise BadEtcdConfiguration("an etcd client certificate needs its key, and a key its certificate")
        if bool(self.user) != bool(self.password_file):
            raise BadEtcdConfiguration("an etcd user needs a password file, and a password file a user")
        if len({endpoint.tls for endpoint in self.endpoints}) > 1:
            raise BadEtcdConfiguration("either all etcd servers are https:// or none is")

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return tuple(map(_endpoint, self.servers))

    def password(self) -> str:
        """Raises OSError."""
        return Path(self.password_file).read_text().rstrip("\n") if self.password_file else ""


def _endpoint(url: str) -> Endpoint:
    parts = urlsplit(url)
    try:
        port = parts.port or DEFAULT_PORT
    except ValueError as error:
        raise BadEtcdConfiguration(f'etcd server "{url}": {error}') from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
        raise BadEtcdConfiguration(f'etcd server "{url}" is not a URL like https://HOST:{DEFAULT_PORT}')
    return Endpoint(parts.hostname, port, parts.scheme == "https")
