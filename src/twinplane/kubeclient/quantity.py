"""Resource quantities (`500m`, `1Gi`, `2e3`): their value, their canonical text, their rounding.

The meaning is that of k8s.io/apimachinery `pkg/api/resource`: exact decimal values, nothing finer than a billionth
(rounded away from zero), nothing above 2^63-1. The API server writes quantities in canonical form; the scheduler,
quotas and the kubelet compare and add them. Values are int where whole and Fraction otherwise, so sums stay exact.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import Literal

Value = int | Fraction
Format = Literal["DecimalSI", "BinarySI", "DecimalExponent"]

FORMAT_ERROR = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
SUFFIX_ERROR = "unable to parse quantity's suffix"

_LIMIT = (1 << 63) - 1
_NANO = 10**9
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_BINARY_SCALE = {suffix: 1 << (10 * power) for power, suffix in enumerate(_BINARY) if suffix}
_EXPONENT_LIMIT = 40
"""A decimal exponent beyond this overflows the limit, or vanishes below a billionth, whatever the digits say."""

_shape = re.compile(r"([+-]?)([0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)").fullmatch
_digits = re.compile(r"([0-9]*)(?:\.([0-9]*))?").fullmatch
_exponent = re.compile(r"[eE]([-+]?[0-9]+)").fullmatch


def parse(text: str | float) -> Value:
    """The exact value. Raises ValueError with upstream's wording."""
    return _parsed(text if isinstance(text, str) else _number_text(text))[0]


def canonical(text: str | float) -> str:
    """As Go marshals it: `0.5` -> `500m`, `1024Mi` -> `1Gi`, `1000m` -> `1`. Raises ValueError."""
    return _canonical(text if isinstance(text, str) else _number_text(text))


def milli(text: str | float) -> int:
    """In thousandths, rounded up: the unit of CPU accounting. Raises ValueError."""
    return _milli(text if isinstance(text, str) else _number_text(text))


def whole(text: str | float) -> int:
    """In units, rounded up: the unit of bytes and counts. Raises ValueError."""
    value = parse(text)
    return value if isinstance(value, int) else _ceiling(value)


def format_of(text: str | float) -> Format:
    """The family of suffixes the text uses; sums are written in the family of their first term."""
    return _parsed(text if isinstance(text, str) else _number_text(text))[1]


def render(value: Value, format: Format = "DecimalSI") -> str:
    """Canonical text of a computed value, the inverse of `parse`."""
    value = _rounded(value)
    if not value:
        return "0"
    if format == "BinarySI" and isinstance(value, int) and abs(value) >= 1024:
        return _render_binary(value)
    sign, value = ("-", -value) if value < 0 else ("", value)
    exponent = 0
    if isinstance(value, Fraction):
        while value.denominator != 1:
            value, exponent = value * 1000, exponent - 3
        value = value.numerator
    while value % 1000 == 0 and exponent < 18:
        value, exponent = value // 1000, exponent + 3
    if format == "DecimalExponent":
        return f"{sign}{value}e{exponent}" if exponent else f"{sign}{value}"
    return f"{sign}{value}{_DECIMAL_SUFFIX[exponent]}"


def _render_binary(value: int) -> str:
    power = 0
    while value % 1024 == 0 and power < len(_BINARY) - 1:
        value, power = value // 1024, power + 1
    return f"{value}{_BINARY[power]}"


def _number_text(number: float) -> str:
    if isinstance(number, bool):
        raise ValueError(FORMAT_ERROR)
    return repr(number)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> tuple[Value, Format]:
    shape = _shape(text)
    digits = _digits(shape[2]) if shape else None
    if shape is None or digits is None or shape[2] == ".":
        raise ValueError(FORMAT_ERROR)
    before, after = digits[1], digits[2] or ""
    scale, family = _scale(shape[3])
    value: Value = Fraction(int(before + after or "0"), 10 ** len(after)) * scale
    if value.denominator == 1:
        value = value.numerator
    if family == "BinarySI" and value < 1:
        family = "DecimalSI"
    value = _rounded(value)
    return (-value if shape[1] == "-" else value), family


def _scale(suffix: str) -> tuple[Value, Format]:
    if suffix in _DECIMAL:
        return _power_of_ten(_DECIMAL[suffix]), "DecimalSI"
    if suffix in _BINARY_SCALE:
        return _BINARY_SCALE[suffix], "BinarySI"
    exponent = _exponent(suffix)
    if exponent is None:
        raise ValueError(SUFFIX_ERROR)
    return _power_of_ten(max(-_EXPONENT_LIMIT, min(_EXPONENT_LIMIT, int(exponent[1][:12])))), "DecimalExponent"


def _power_of_ten(exponent: int) -> Value:
    return 10**exponent if exponent >= 0 else Fraction(1, 10**-exponent)


def _rounded(value: Value) -> Value:
    """Within what a quantity can hold: at most the limit, at least a billionth unless it is zero."""
    if isinstance(value, Fraction):
        scaled = abs(value) * _NANO
        if scaled.denominator != 1:
            value = Fraction(_ceiling(scaled) if value > 0 else -_ceiling(scaled), _NANO)
        if value.denominator == 1:
            value = value.numerator
    if value > _LIMIT or value < -_LIMIT:
        return _LIMIT if value > 0 else -_LIMIT
    return value


def _ceiling(value: Value) -> int:
    return -(-value.numerator // value.denominator)


@lru_cache(maxsize=4096)
def _milli(text: str) -> int:
    return _ceiling(parse(text) * 1000)


@lru_cache(maxsize=4096)
def _canonical(text: str) -> str:
    return render(*_parsed(text))
