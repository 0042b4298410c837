"""Field selectors: terms, escapes, refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinplane.controlplane.api.selectors import FieldRequirement, parse_field_selector
from twinplane.kubeclient.errors import ApiError


def test_terms() -> None:
    selector = parse_field_selector("status.phase!=Running,metadata.name=web,,spec.nodeName==")
    assert selector.requirements == (
        FieldRequirement("metadata.name", "=", "web"),
        FieldRequirement("spec.nodeName", "=", ""),
        FieldRequirement("status.phase", "!=", "Running"),
    )
    assert selector.exact == {"metadata.name": "web", "spec.nodeName": ""}
    assert selector.matches({"metadata.name": "web", "status.phase": "Failed"})
    assert not selector.matches({"metadata.name": "web", "status.phase": "Running"})
    assert not selector.matches({"metadata.name": "web", "spec.nodeName": "n"})
    assert parse_field_selector("").matches({})


REFUSED = {
    "a": "invalid selector: 'a'; can't understand 'a'",
    "a=1,b": "invalid selector: 'a=1,b'; can't understand 'b'",
    "a=b=c": "invalid field selector: unescaped character in value: 61",
    "a=\\x": "invalid field selector: invalid escape sequence: \\x",
    "a=\\": "invalid field selector: invalid escape sequence: \\",
}


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_field_selector(text)
    assert (caught.value.code, caught.value.message) == (400, REFUSED[text])


@given(st.text(st.sampled_from("a,=\\!"), max_size=6))
def test_escaped_values_come_back(value: str) -> None:
    escaped = "".join(f"\\{character}" if character in ",=\\" else character for character in value)
    for operator, equal in (("=", True), ("==", True), ("!=", False)):
        selector = parse_field_selector(f"x{operator}{escaped},y=1")
        assert selector.matches({"x": value, "y": "1"}) is equal
