"""Hashes for the names of generated objects, in the alphabet that upstream uses for them. Pure.

Upstream hashes Go's memory layout, which nobody else can repeat; what counts is that equal templates give equal hashes
here and that the value is a label.
"""

from __future__ import annotations

from typing import Any

import orjson

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""No vowels and no look-alikes: k8s.io/apimachinery/pkg/util/rand."""


def template_hash(template: Any, collision_count: int | None = None) -> str:
    data = orjson.dumps(template, option=orjson.OPT_SORT_KEYS)
    if collision_count is not None:
        data += str(collision_count).encode()
    return safe_encoded(str(fnv32a(data)))


def fnv32a(data: bytes) -> int:
    value = 0x811C9DC5
    for byte in data:
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def safe_encoded(text: str) -> str:
    return "".join(ALPHABET[ord(character) % len(ALPHABET)] for character in text)
