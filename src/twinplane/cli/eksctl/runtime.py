"""`--runtime` of node groups: what this host needs for real nodes is said before anything is made."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from twinplane.cli.eksctl.config import RUNTIMES, NodeGroup
from twinplane.cli.output import CommandError


def runtime_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runtime", choices=RUNTIMES, help="what the nodes are: real containers, or simulated (default: simulated)"
    )


def check_host(groups: Iterable[NodeGroup], data_dir: Path) -> None:
    """Raises `CommandError` with everything that real nodes lack here, when a group asks for them."""
    if not any(group.runtime == "containerd" for group in groups):
        return
    from twinplane.cloud.machines.requirements import requirements

    missing = requirements(data_dir)
    if missing:
        lines = "\n".join(f"  - {sentence}" for sentence in missing)
        raise CommandError(f"this host cannot run nodes with runtime containerd:\n{lines}")
