"""Image references as container runtimes read them: `nginx:1.25` is `docker.io/library/nginx:1.25`."""

from __future__ import annotations

import re
from dataclasses import dataclass

DOCKER_HUB = "docker.io"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_REGISTRY = re.compile(r"[A-Za-z0-9.-]+(?::\d+)?")


class BadReference(ValueError):
    pass


@dataclass(frozen=True, slots=True)
class Reference:
    registry: str
    repository: str
    tag: str = "latest"
    digest: str = ""

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}" + (f"@{self.digest}" if self.digest else f":{self.tag}")

    @property
    def familiar(self) -> str:
        """As people write it: `nginx:1.25`."""
        return str(self).removeprefix(f"{DOCKER_HUB}/").removeprefix("library/")

    @property
    def version(self) -> str:
        """What a manifest is asked for by: digest or tag."""
        return self.digest or self.tag


def parse(text: str) -> Reference:
    """Raises `BadReference`."""
    name, _, digest = text.partition("@")
    registry, repository = split_registry(name)
    tag = "latest"
    if ":" in repository:
        repository, _, tag = repository.partition(":")
    valid = (
        _REGISTRY.fullmatch(registry)
        and _REPOSITORY.fullmatch(repository)
        and _TAG.fullmatch(tag)
        and (not digest or DIGEST.fullmatch(digest))
    )
    if not valid:
        raise BadReference(f'"{text}" is not an image reference')
    return Reference(registry, repository, tag, digest)


def split_registry(name: str) -> tuple[str, str]:
    """The first part is a registry if it could be a host: it has a dot or a port, or is `localhost`."""
    first, _, rest = name.partition("/")
    if rest and ("." in first or ":" in first or first == "localhost"):
        registry, repository = first, rest
    else:
        registry, repository = DOCKER_HUB, name
    registry = DOCKER_HUB if registry in ("index.docker.io", "registry-1.docker.io") else registry
    if registry == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    return registry, repository


def valid_repository(name: str) -> bool:
    return _REPOSITORY.fullmatch(name) is not None


def valid_tag(name: str) -> bool:
    return _TAG.fullmatch(name) is not None
