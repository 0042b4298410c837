"""Label selectors: what they select, how they print, and upstream's refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinplane.controlplane.api.selectors import label_selector_from_object, parse_label_selector
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.selectors import (
    EVERYTHING,
    NOTHING,
    Requirement,
    SelectorError,
    selector_of,
    selector_of_labels,
)

QUALIFIED = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)

SELECTS: dict[str, tuple[list[dict[str, str]], list[dict[str, str]]]] = {
    "": ([{}, {"a": "1"}], []),
    "a=1": ([{"a": "1", "b": "2"}], [{}, {"a": "2"}]),
    "a==1": ([{"a": "1"}], [{"a": "2"}]),
    "a!=1": ([{}, {"a": "2"}], [{"a": "1"}]),
    "a": ([{"a": ""}, {"a": "1"}], [{}]),
    "!a": ([{}, {"b": "1"}], [{"a": ""}]),
    "a=": ([{"a": ""}], [{}, {"a": "1"}]),
    "a in (1, 2)": ([{"a": "1"}, {"a": "2"}], [{}, {"a": "3"}]),
    "a notin (1,2)": ([{}, {"a": "3"}], [{"a": "1"}]),
    "a in (1)": ([{"a": "1"}], [{"a": "2"}]),
    "a in (,1)": ([{"a": ""}, {"a": "1"}], [{"a": "2"}]),
    "a in (1,)": ([{"a": ""}, {"a": "1"}], [{"a": "2"}]),
    "a in (1,,2)": ([{"a": ""}, {"a": "1"}, {"a": "2"}], [{"a": "3"}]),
    "a>5": ([{"a": "6"}, {"a": "+10"}], [{"a": "5"}, {"a": "x"}, {}]),
    "a<5": ([{"a": "-4"}], [{"a": "5"}, {"a": "9999999999999999999999"}, {}]),
    "a=1,b!=2,!c": ([{"a": "1"}, {"a": "1", "b": "3"}], [{"a": "1", "c": ""}, {"a": "1", "b": "2"}]),
    "a=1,a=2": ([], [{"a": "1"}, {"a": "2"}]),
    "in in (in), notin notin (notin)": ([{"in": "in"}], [{"in": "in", "notin": "notin"}, {}]),
    " app.kubernetes.io/name = web ,tier in ( front , back ) ": (
        [{"app.kubernetes.io/name": "web", "tier": "back"}],
        [{"app.kubernetes.io/name": "web"}],
    ),
}

REFUSED = {
    ",a": "found ',', expected: !, identifier, or 'end of string'",
    "a,": "found '', expected: identifier after ','",
    "a,,b": "found ',', expected: identifier after ','",
    "a=1 b=2": "found 'b', expected: ',' or 'end of string'",
    "!a=1": "found '=', expected: ',' or 'end of string'",
    "!": "unable to parse requirement: found '', expected: identifier",
    "a b": "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
    "a=(": "unable to parse requirement: found '(', expected: identifier",
    "a in 1": "unable to parse requirement: found '1' expected: '('",
    "a in (": "unable to parse requirement: found '', expected: ',', ')' or identifier",
    "a in (1": "unable to parse requirement: found '', expected: ',' or ')'",
    "a in (1 2)": "unable to parse requirement: found '2', expected: ',' or ')'",
    "a in (1,=)": "unable to parse requirement: found '=', expected: ',', or identifier",
    "a in ()": "unable to parse requirement: values: Invalid value: []: for 'in', 'notin' operators, values set "
    "can't be empty",
    "a>x": "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be "
    "an integer",
    "-a=1": f'unable to parse requirement: <nil>: Invalid value: "-a": {QUALIFIED}',
    "a/b/c=1": 'unable to parse requirement: <nil>: Invalid value: "a/b/c": a qualified name must consist of',
    "a=-1-": 'unable to parse requirement: values[0][a]: Invalid value: "-1-": a valid label must be an empty string',
    f"a={'x' * 64}": "unable to parse requirement: values[0][a]: Invalid value",
}


@pytest.mark.parametrize("text", SELECTS)
def test_selects(text: str) -> None:
    selector = parse_label_selector(text)
    selected, others = SELECTS[text]
    assert all(selector.matches(labels) for labels in selected)
    assert not any(selector.matches(labels) for labels in others)
    again = parse_label_selector(str(selector))
    assert [again.matches(labels) for labels in selected + others] == [True] * len(selected) + [False] * len(others)


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_label_selector(text)
    assert caught.value.code == 400
    assert caught.value.message.startswith(REFUSED[text])


@given(st.text(st.sampled_from("a1 ,()=!<>\0in/-é"), max_size=12))
def test_any_text_is_a_selector_or_a_bad_request(text: str) -> None:
    try:
        selector = parse_label_selector(text)
    except ApiError as error:
        code, selector = error.code, EVERYTHING
    else:
        code = 200
    assert code in (200, 400)
    selector.matches({"a": "1"})


def test_exact_is_what_an_index_can_use() -> None:
    selector = parse_label_selector("a=1,b in (2),c in (3,4),d!=5,e")
    assert selector.exact == {"a": "1", "b": "2"}
    assert selector.requirements[2] == Requirement("c", "in", ("3", "4"))


def test_text_form() -> None:
    assert str(parse_label_selector("c,!b,a in (2,1),d>5,e!=x")) == "a in (1,2),!b,c,d>5,e!=x"


def test_from_an_object() -> None:
    selector = selector_of(
        {
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["b", "a"]},
                {"key": "env", "operator": "NotIn", "values": ["test"]},
                {"key": "zone", "operator": "Exists"},
                {"key": "old", "operator": "DoesNotExist", "values": None},
            ],
        }
    )
    assert selector.matches({"app": "web", "tier": "a", "zone": "x"})
    assert not selector.matches({"app": "web", "tier": "a", "zone": "x", "old": ""})
    assert str(selector) == "app=web,env notin (test),!old,tier in (a,b),zone"


def test_nothing_and_everything() -> None:
    assert selector_of(None) is NOTHING
    assert selector_of({}) is EVERYTHING
    assert not NOTHING.matches({})
    assert EVERYTHING.matches(None)
    assert EVERYTHING.selects_everything
    assert not NOTHING.selects_everything
    assert selector_of_labels({"a": "1"}).exact == {"a": "1"}


def test_bad_objects() -> None:
    with pytest.raises(SelectorError, match='"Like" is not a valid label selector operator'):
        selector_of({"matchExpressions": [{"key": "a", "operator": "Like"}]})
    for selector in (
        {"matchLabels": {"-": "1"}},
        {"matchExpressions": [{"key": "a", "operator": "In"}]},
        {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["1"]}]},
        {"matchExpressions": [{"key": "a", "operator": "Like"}]},
    ):
        with pytest.raises(ApiError) as caught:
            label_selector_from_object(selector)
        assert caught.value.code == 400
    assert label_selector_from_object({"matchLabels": {"a": "1"}}).exact == {"a": "1"}
