"""Quantities: the examples of apimachinery's own documentation, and properties of parsing and rendering."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinplane.kubeclient import quantity


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5", "500m"),
        ("1024Mi", "1Gi"),
        ("1000m", "1"),
        ("1.5Gi", "1536Mi"),
        ("1.5", "1500m"),
        ("100Mi", "100Mi"),
        ("1000Mi", "1000Mi"),
        ("1000M", "1G"),
        ("1023", "1023"),
        ("1024", "1024"),
        ("1Ki", "1Ki"),
        ("0.5Ki", "512"),
        ("0.5Mi", "512Ki"),
        ("12e6", "12e6"),
        ("1e3", "1e3"),
        ("100e3", "100e3"),
        ("0Mi", "0"),
        ("-0", "0"),
        ("-2048Ki", "-2Mi"),
        ("-1500m", "-1500m"),
        ("0.0000000001", "1n"),
        ("-0.0000000001", "-1n"),
        ("100", "100"),
        ("110", "110"),
        ("10000", "10k"),
        ("9223372036854775808", "9223372036854775807"),
        ("1E", "1E"),
        ("1e99999999999999999999", "9223372036854775807"),
        ("+1", "1"),
        (".5", "500m"),
        ("5.", "5"),
        (2, "2"),
        (0.1, "100m"),
        (1e21, "9223372036854775807"),
    ],
)
def test_canonical_form(text: str | float, expected: str) -> None:
    assert quantity.canonical(text) == expected


@pytest.mark.parametrize("text", ["", "abc", "1 Gi", "1.2.3", ".", "1Gi1", "--1", "1KB", "1ki", "1K", "1ee3", "1e"])
def test_malformed_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="quantit"):
        quantity.parse(text)


def test_booleans_are_not_quantities() -> None:
    with pytest.raises(ValueError, match="quantities must match"):
        quantity.parse(True)


def test_rounding_is_up() -> None:
    assert quantity.milli("100u") == 1
    assert quantity.milli("1500m") == 1500
    assert quantity.whole("1500m") == 2
    assert quantity.whole("-1500m") == -1
    assert quantity.whole("1Gi") == 1 << 30


_texts = st.builds(
    lambda number, suffix: f"{number}{suffix}",
    st.decimals(min_value=-(10**6), max_value=10**6, places=4, allow_nan=False),
    st.sampled_from(["", "m", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "E2"]),
)


@given(_texts)
def test_canonical_keeps_the_value_and_is_a_fixed_point(text: str) -> None:
    once = quantity.canonical(text)
    assert quantity.parse(once) == quantity.parse(text)
    assert quantity.canonical(once) == once


@given(st.fractions(max_denominator=10**9), st.sampled_from(["DecimalSI", "BinarySI", "DecimalExponent"]))
def test_rendering_rounds_away_from_zero_by_less_than_a_billionth(value: Fraction, format: quantity.Format) -> None:
    shown = quantity.parse(quantity.render(value, format))
    limit = (1 << 63) - 1
    clamped = value if -limit <= value <= limit else Fraction(limit if value > 0 else -limit)
    assert (-shown if shown < 0 else shown) >= (-clamped if clamped < 0 else clamped) or clamped in (limit, -limit)
    assert abs(shown - clamped) < Fraction(1, 10**9)


@given(st.text(max_size=12))
def test_arbitrary_text_is_parsed_or_refused(text: str) -> None:
    try:
        quantity.parse(text)
    except ValueError:
        return
    assert quantity.canonical(text)
