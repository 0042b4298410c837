"""Names of images: defaults and parts, as distribution's reference grammar has them. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

_DOMAIN = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_reference = re.compile(
    rf"(?:({_DOMAIN})/)?({_COMPONENT}(?:/{_COMPONENT})*)(?::([\w][\w.-]{{0,127}}))?(?:@([A-Za-z][\w+.-]*:[0-9a-fA-F]{{32,}}))?",
    re.ASCII,
).fullmatch
DEFAULT_REGISTRY = "docker.io"


class ImageName(NamedTuple):
    registry: str
    repository: str
    tag: str
    digest: str

    @property
    def full(self) -> str:
        """As containerd knows it."""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"


def parse_image(image: str) -> ImageName:
    """With Docker's defaults. Raises ValueError."""
    registry, _, rest = image.partition("/")
    named = rest and ("." in registry or ":" in registry or registry == "localhost" or registry != registry.lower())
    match = _reference(image if named else f"{DEFAULT_REGISTRY}/{image}")
    if match is None or match[1] is None:
        raise ValueError("invalid reference format")
    registry, repository, tag, digest = (part or "" for part in match.groups())
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        repository = f"library/{repository}"
    return ImageName(registry, repository, tag or ("" if digest else "latest"), digest)


def with_default_tag(image: str) -> str:
    """What the runtime is asked for: as written, and `:latest` where nothing says which. Raises ValueError."""
    name = parse_image(image)
    last = image.rpartition("/")[2]
    return image if name.digest or ":" in last else f"{image}:latest"
