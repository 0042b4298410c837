"""Rules that are sure to be too slow are refused with their definition; those that turn out to be, when they run."""

from __future__ import annotations

from typing import Any

import pytest

from twinplane.controlplane.api.extensions.customresources.cost import excess
from twinplane.controlplane.api.extensions.customresources.rule_validation import check_rules
from twinplane.controlplane.api.extensions.customresources.rules import compile_rules, steps_of
from twinplane.controlplane.api.extensions.customresources.structural import Errors
from twinplane.controlplane.api.extensions.customresources.values import MISSING, Raw
from twinplane.kubeclient.errors import FieldError

TEXT: Raw = {"type": "string"}
SHORT: Raw = {"type": "string", "maxLength": 10}


def objects(**properties: Any) -> Raw:
    return {"type": "object", "properties": properties}


def listed(items: Raw, rule: str = "", **more: Any) -> Raw:
    rules = {"x-kubernetes-validations": [{"rule": rule}]} if rule else {}
    return {"type": "array", "items": items, **rules, **more}


def refusals(schema: Raw) -> list[str]:
    errors: Errors = []
    check_rules(schema, "s", errors)
    return [error.text() for error in errors]


ADVICE = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"  # noqa: E501


TOTAL = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"


def test_a_list_in_a_list_without_limits_is_refused_as_upstream_refuses_it() -> None:
    inner = listed(TEXT, "self.all(s, s == 'string constant')")
    found = refusals(objects(spec=objects(x=listed(inner))))
    path = "s.properties[spec].properties[x].items.x-kubernetes-validations[0].rule"
    assert found == [
        f"{path}: Forbidden: estimated rule cost exceeds budget by factor of more than 100x {ADVICE}",
        f"{path}: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
        f"s: Forbidden: {TOTAL} exceeds budget by factor of more than 100x {ADVICE}",
    ]


@pytest.mark.parametrize(
    "schema",
    [
        listed(TEXT, "self.all(s, s == 'x')"),
        listed(listed(TEXT, "self.all(s, s == 'x')", maxItems=100), maxItems=100),
        listed(objects(a=SHORT), "self.all(x, self.exists_one(y, x.a == y.a))", maxItems=725),
        listed(SHORT, "self.filter(x, x != '').map(x, x + 'a').all(x, x in self)", maxItems=64),
        listed(TEXT, "oldSelf.size() < self.size()"),
        {
            "type": "object",
            "additionalProperties": TEXT,
            "x-kubernetes-validations": [{"rule": "self.all(k, k != '')"}],
        },
        objects(a=TEXT) | {"x-kubernetes-validations": [{"rule": "oldSelf.hasValue()", "optionalOldSelf": True}]},
        objects(a=TEXT)
        | {"x-kubernetes-validations": [{"rule": "cel.bind(x, self.a, x == 'y') ? true : [1, 2].all(n, n > 0)"}]},
    ],
)
def test_what_upstream_takes_is_taken(schema: Raw) -> None:
    assert refusals(objects(spec=schema)) == []


def text(most: int | None, **more: Any) -> Raw:
    return {"type": "string", **more, **({} if most is None else {"maxLength": most})}


def values(items: Raw, most: int | None) -> Raw:
    return {"type": "array", "items": items, **({} if most is None else {"maxItems": most})}


def mapped(entry: Raw, most: int | None) -> Raw:
    return {"type": "object", "additionalProperties": entry, **({} if most is None else {"maxProperties": most})}


NUMBER: Raw = {"type": "number"}
EITHER: Raw = {"x-kubernetes-int-or-string": True}
NAMED: Raw = {"type": "object", "properties": {"required": TEXT, "optional": TEXT}, "required": ["required"]}
FIGURES: list[tuple[str, Any, int, int, int]] = [
    ("self.all(x, true)", lambda most: values(NUMBER, most), 4718591, 10, 32),
    ("self.all(x, true)", lambda most: values(TEXT, most), 3145727, 20, 62),
    ("self.all(x, true)", lambda most: values({"type": "boolean"}, most), 1887437, 5, 17),
    ("self.all(x, true)", lambda most: values(values(NUMBER, None), most), 3145727, 100, 302),
    ("self.all(x, true)", lambda most: values(NAMED, most), 555128, 50, 152),
    ("self.all(x, true)", lambda most: mapped(NUMBER, most), 1348169, 10, 32),
    ("self.all(x, true)", lambda most: mapped(text(None, format="date-time"), most), 349526, 25, 77),
    ("self.contains('test')", text, 314574, 10, 5),
    ("self.startsWith('test')", text, 2, 15, 2),
    ('size(self + "hello") > size("hello")', text, 314578, 4, 7),
    ("self[1] == 0.0", lambda most: values(NUMBER, most), 2, 5000, 2),
    ("self[1] == self[1]", lambda most: values(TEXT, most), 314577, 8, 314577),
    ('self.matches("x")', text, 314574, 50, 22),
    ('"".matches("(((((((((())))))))))[0-9]")', text, 7, 10, 7),
    ('self.matches("")', text, 1, 100, 1),
    ("self.all(x, x.contains(self[x]))", lambda most: mapped(text(most), most), 2752507, 10, 72),
    ('self == "x"', text, 2, 0, 1),
    ('self == b"x"', lambda most: text(most, format="byte"), 2, 0, 1),
    ('self.all(x, x["y"].required == "z")', lambda most: values(mapped(NAMED, None), most), 7340027, 10, 72),
    ("self[0] == 5", lambda most: values(EITHER, most), 3, 10, 3),
    ("self[0] == null", lambda most: values(NAMED, most), 2, 422, 2),
    ("self.all(x, x.y == 25.2)", lambda most: values(mapped(NUMBER, None), most), 6291452, 12, 74),
    ("self[0].x > 2.0", lambda most: values(mapped(NUMBER, None), most), 4, 3000, 4),
    ("self[0].getHours() == 2", lambda most: values(text(None, format="duration"), most), 4, 525, 4),
    ("self.find('[0-9]+') == ''", text, 629147, 10, 11),
    ("self.join(' ') == 'aa bb'", lambda most: values(text(most), most), 329853068905, 10, 43),
    ("self.isSorted() == true", lambda most: values(text(most), most), 329854432052, 10, 52),
    ("self.lowerAscii() == 'lower!'", text, 314575, 10, 6),
    ("oldSelf.size() == self.size()", lambda most: mapped({"type": "integer"}, most), 5, 10, 5),
    ('self["a"] == self["b"]', lambda most: mapped(text(None, format="date-time"), most), 8, 7, 8),
    ("self.contains('A')", lambda most: text(most, enum=["A", "LongValue"]), 2, 1000, 401),
]


@pytest.mark.parametrize(
    ("rule", "make", "without", "most", "limited"), FIGURES, ids=[f"{i} {row[0]}" for i, row in enumerate(FIGURES)]
)
def test_figures_are_those_of_upstream(rule: str, make: Any, without: int, most: int, limited: int) -> None:
    """As upstream's own tests expect them (TestCostEstimation): without a limit in the schema, and with one."""
    assert steps_of({"rule": rule}, "rule", make(None)) == without
    assert steps_of({"rule": rule}, "rule", make(most)) == limited


@pytest.mark.parametrize(
    ("rule", "most"),
    [
        ("self.all(x, self.all(y, self.all(z, x == y || y == z)))", {"maxItems": 725}),
        ("self.all(x, self.all(y, x == y))", {}),
        ("self.filter(x, x != '').all(x, self.all(y, x == y))", {}),
    ],
)
def test_walks_within_walks_cost_their_product(rule: str, most: dict[str, int]) -> None:
    (first, *_) = refusals(objects(spec=listed(TEXT, rule, **most)))
    assert "estimated rule cost exceeds budget by factor of" in first


def test_a_cost_grows_with_its_list() -> None:
    def steps(most: int) -> int:
        return steps_of({"rule": "self.all(s, s == 'x')"}, "rule", listed(TEXT, maxItems=most))

    assert steps(0) < 10
    assert steps(2000) - steps(1000) == steps(1000) - steps(0)
    assert 3000 <= steps(1000) <= 7000


@pytest.mark.parametrize(
    ("cost", "factor"), [(10_000_001, "1.000000x"), (25_000_000, "2.5x"), (2_000_000_000, "more than 100x")]
)
def test_factors(cost: int, factor: str) -> None:
    assert excess("estimated rule cost", cost, 10_000_000).startswith(
        f"estimated rule cost exceeds budget by factor of {factor} ("
    )


def test_a_rule_that_runs_too_long_is_stopped_and_none_runs_after_it() -> None:
    slow = {"rule": "self.all(x, self.all(y, x + y > 0))"}
    schema = {
        "type": "array",
        "items": {"type": "integer"},
        "maxItems": 725,
        "x-kubernetes-validations": [slow, {"rule": "self.size() < 0"}],
    }
    visit = compile_rules(schema)
    assert visit is not None
    errors: list[FieldError] = []
    visit([20] * 725, MISSING, "spec.largeArray", errors)
    (error,) = errors
    assert error.text() == (
        "spec.largeArray: Invalid value: \"array\": 'operation cancelled: actual cost limit exceeded': no further "
        "validation rules will be run due to call cost exceeds limit for rule: self.all(x, self.all(y, x + y > 0))"
    )
