"""kube-controller-manager's flags, out of a file: a YAML or JSON object of flag names without their dashes and values.

    node-monitor-grace-period: 40s
    node-eviction-rate: 0.5

Only flags that a controller here reads are known, and every mistake is told, worded as upstream's command line does it.
The composition root merges what `load` returns into the controllers' options.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from twinplane.clock import seconds_of


class BadControllerFlags(ValueError):
    """What is wrong with the file, one sentence a line."""


def _number(text: str) -> float:
    try:
        found = float(text)
    except ValueError as error:
        raise ValueError(f'strconv.ParseFloat: parsing "{text}": invalid syntax') from error
    if not isfinite(found) or found < 0:
        raise ValueError("must be greater than or equal to 0")
    return found


def _part(text: str) -> float:
    found = _number(text)
    if found > 1:
        raise ValueError("must be between 0 and 1")
    return found


def _count(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise ValueError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def _size(text: str) -> int:
    found = _count(text)
    if found < 0:
        raise ValueError("must be greater than or equal to 0")
    return found


def _period(text: str) -> float:
    found = seconds_of(text)
    if found <= 0:
        raise ValueError("must be greater than 0")
    return found


FLAGS: Mapping[str, Callable[[str], float]] = {
    "node-monitor-grace-period": _period,
    "node-startup-grace-period": _period,
    "node-eviction-rate": _number,
    "secondary-node-eviction-rate": _number,
    "unhealthy-zone-threshold": _part,
    "large-cluster-size-threshold": _size,
    "terminated-pod-gc-threshold": _count,
}


def load(path: Path) -> dict[str, str]:
    """Options for `Context`: durations in seconds. Raises `BadControllerFlags` with all that is wrong."""
    import yaml

    try:
        body = yaml.safe_load(path.read_text())
    except OSError as error:
        raise BadControllerFlags(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadControllerFlags(f"{path} is not YAML: {error}") from error
    try:
        return parse(body)
    except BadControllerFlags as error:
        raise BadControllerFlags(f"{path}:\n{error}") from error


def parse(body: Any) -> dict[str, str]:
    if body is None:
        return {}
    if not isinstance(body, Mapping):
        raise BadControllerFlags("the file must be an object of flags and values")
    options: dict[str, str] = {}
    problems = []
    for name, value in body.items():
        read = FLAGS.get(name)
        if read is None:
            problems.append(f"unknown flag: --{name}")
            continue
        try:
            options[name] = str(read(_text(value)))
        except ValueError as error:
            problems.append(f'invalid argument "{_text(value)}" for "--{name}" flag: {error}')
    if problems:
        raise BadControllerFlags("\n".join(problems))
    return options


def _text(value: Any) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
