"""Go's regular expressions in Python's: what both know, what is translated, what Go refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinplane.controlplane.cel.regular_expressions import BadPattern, compile_pattern


@pytest.mark.parametrize(
    ("pattern", "matches", "does_not"),
    [
        (r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", "a-b.c", "A.b"),
        (r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$", "* * * * */5", "* *"),
        (r"^x$", "x", "x\n"),
        (r"^[[:alpha:]]+[[:digit:]]$", "abc1", "1a"),
        (r"^[^[:space:]]+$", "ab", "a b"),
        (r"^\pL+\z", "größe", "a1"),
        (r"^[\p{L}_]+$", "größe_", "a-"),
        (r"^\w+$", "abc", "größe"),
        (r"^\Q1.5\E$", "1.5", "1x5"),
        (r"^(?<year>\d{4})$", "2024", "24"),
        (r"^(?P<year>\d{4})$", "2024", "24"),
        (r"^\x{263a}$", "☺", "x"),
        (r"^[]a]$", "]", "b"),
        (r"^[^]a]$", "b", "]"),
        (r"^[a[]$", "[", "b"),
        (r"(?i)^abc$", "ABC", "abd"),
        (r"^a{2,3}$", "aaa", "a"),
        (r"^\$\{[a-z]+\}$", "${ab}", "$ab"),
    ],
)
def test_matching(pattern: str, matches: str, does_not: str) -> None:
    search = compile_pattern(pattern).search
    assert search(matches)
    assert not search(does_not)


@pytest.mark.parametrize(
    "pattern", ["(?=a)", "(?!a)", "(?<=a)b", r"(a)\1", "(", "a**", "a++", "[[:nothing:]]", r"\p{X}", r"a\Z"]
)
def test_refused(pattern: str) -> None:
    with pytest.raises(BadPattern, match=r"^error parsing regexp: "):
        compile_pattern(pattern)


@given(st.text(st.sampled_from(list(r"ab[]^$()?*+{}\:|-pLdQE<>=!.1,&~")), max_size=12))
def test_any_text_is_compiled_or_refused(text: str) -> None:
    try:
        compile_pattern(text).search("ab")
    except BadPattern:
        return
