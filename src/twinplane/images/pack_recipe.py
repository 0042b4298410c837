"""What an image is made of, as the command line asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Recipe:
    apt: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: str = ""
    environment: tuple[str, ...] = ()
    """NAME=VALUE."""
    working_directory: str = ""
    add: tuple[tuple[Path, str], ...] = ()
    """Files or directories of this machine, and their absolute paths in the image."""
    ports: tuple[str, ...] = ()
    minimal: bool = False
    keep: tuple[str, ...] = ()
    """Nothing but these paths (relative to /): an image of single files."""
