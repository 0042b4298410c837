"""`$(NAME)` in commands, arguments and environment, as Kubernetes expands it. Pure.

`$$(NAME)` is the text `$(NAME)`; a name that is not known stays as it is written. Source: upstream's
third_party/forked/golang/expansion.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_reference = re.compile(r"\$(?:\$|\(([^()]*)\))").sub


def expand(text: str, environment: Mapping[str, str]) -> str:
    if "$" not in text:
        return text

    def replaced(match: re.Match[str]) -> str:
        name = match.group(1)
        if name is None:
            return "$"
        return environment.get(name, match.group(0))

    return _reference(replaced, text)
