"""The shape of a command: a sentence, its flags, what it does. `cli.main` holds the table of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from twinplane.cli.output import CommandError


@dataclass(frozen=True, slots=True)
class Command:
    summary: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]
    """Raises `CommandError` with the sentence to show."""


class Parser(argparse.ArgumentParser):
    """argparse with one sentence for a mistake instead of a page of usage."""

    def error(self, message: str) -> NoReturn:
        message = message.replace("unrecognized arguments:", "unknown flag or argument:")
        raise CommandError(f"{message}; see `{self.prog} --help`")


def no_arguments(parser: argparse.ArgumentParser) -> None:
    del parser


def cluster_flag(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    parser.add_argument("--cluster", metavar="NAME", required=required, help="EKS cluster name")


def output_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=("table", "json", "yaml"), default="table", help="output format")
