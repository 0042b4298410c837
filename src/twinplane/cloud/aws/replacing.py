"""Replacing a method of a moto class by one that wraps it: the tool that the corrections are made with."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def around(cls: Any, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: replace `cls.name` by a function that is given the original as its first argument."""

    def replace(function: Callable[..., Any]) -> Callable[..., Any]:
        original = getattr(cls, name)

        @functools.wraps(original)
        def method(*args: Any, **kwargs: Any) -> Any:
            return function(original, *args, **kwargs)

        setattr(cls, name, method)
        return function

    return replace
