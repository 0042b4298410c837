"""CEL as Kubernetes extends it: values, errors, and what the binding cannot do by itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinplane.controlplane.cel import (
    CompileError,
    EvaluationError,
    Function,
    Optional,
    compile_expression,
)

SELF = {"spec": {"replicas": 3, "items": [{"name": "a", "port": 1}, {"name": "b", "port": 2}], "text": "hello-x"}}


def evaluate(text: str, **more: Any) -> Any:
    return compile_expression(text, ("self", *more)).evaluate({"self": SELF, **more})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("self.spec.items.all(i, i.port > 0 && has(i.name))", True),
        ("has(self.spec.nothing)", False),
        ("self.spec.items.map(i, i.name)", ["a", "b"]),
        ("self.spec.items.exists_one(i, i.name == 'a')", True),
        ("[1, 2].all(i, v, v > i)", True),
        ("self.spec.?nothing.orValue(7)", 7),
        ("self.spec.text.split('-')", ["hello", "x"]),
        ("'%s-%d'.format(['a', 1])", "a-1"),
        ("self.spec.text.find('l+')", "ll"),
        ("'a1b22'.findAll('[0-9]+', 1)", ["1"]),
        ("[1, 3, 2].isSorted()", False),
        ("[1, 3, 2].sum()", 6),
        ("self.spec.items.map(i, i.port).max()", 2),
        ("sets.contains([1, 2], [1])", True),
        ("quantity('1Gi').isGreaterThan(quantity('1000Mi'))", True),
        ("quantity('1') == quantity('1000m')", True),
        ("quantity('500m').add(quantity('1')).compareTo(quantity('1.5'))", 0),
        ("quantity('5').sub(2).asInteger()", 3),
        ("isQuantity('five')", False),
        ("url('https://a.example:8443/x?y=1&y=2').getPort()", "8443"),
        ("url('https://[::1]:80/').getHostname()", "::1"),
        ("url('/x?y=1&y=2').getQuery()", {"y": ["1", "2"]}),
        ("isURL('no url')", False),
        ("ip('10.0.0.1').family()", 4),
        ("ip('127.0.0.1').isLoopback()", True),
        ("isIP('10.0.0.256')", False),
        ("ip.isCanonical('2001:DB8::1')", False),
        ("cidr('10.0.0.0/8').containsIP('10.1.2.3')", True),
        ("cidr('10.0.0.0/8').containsCIDR(cidr('10.1.0.0/16'))", True),
        ("cidr('10.0.0.1/8').masked() == cidr('10.0.0.0/8')", True),
        ("format.dns1123Label().validate('good').hasValue()", False),
        ("!format.named('dns1123Label').value().validate('Not Good').hasValue()", False),
        ("format.named('unknown').hasValue()", False),
        ("semver('1.2.3').isLessThan(semver('1.10.0'))", True),
        ("semver('1.0.0-rc.1').compareTo(semver('1.0.0'))", -1),
        ("isSemver('v1.2', true)", True),
        ("timestamp('2024-01-02T03:04:05Z').getFullYear()", 2024),
        ("duration('90s') > duration('1m')", True),
        ("jsonpatch.escapeKey('a/b~c')", "a~1b~0c"),
        ("b'ab'", b"ab"),
    ],
)
def test_values(text: str, value: Any) -> None:
    assert evaluate(text) == value


def test_message_literals_are_maps() -> None:
    text = "Object{spec: Object.spec{replicas: 3, ?missing: self.spec.?nothing}, metadata: Object.metadata{}}"
    assert evaluate(text) == {"spec": {"replicas": 3}, "metadata": {}}
    assert evaluate('[JSONPatch{op: "add", path: "/a", value: "{x: 1}"}]') == [
        {"op": "add", "path": "/a", "value": "{x: 1}"}
    ]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("1 +", "Syntax error"),
        ("foo", "undeclared reference to 'foo' (in container '')"),
        ("1 + 'a'", "found no matching overload for '_+_' applied to '(int, string)'"),
        ("quantity('1').add('2')", "found no matching overload for 'add' applied to '(kubernetes.Quantity, string)'"),
        ("quantity('1') == 3", "found no matching overload for '_==_'"),
    ],
)
def test_compile_errors(text: str, part: str) -> None:
    with pytest.raises(CompileError) as caught:
        compile_expression(text, ("self",))
    assert str(caught.value).startswith("ERROR: <input>:1:")
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("self.spec.nothing == 1", "no such key: nothing"),
        ("1 / (self.spec.replicas - 3)", "division by zero"),
        ("self.spec.items[7]", "index out of bounds: 7"),
        ("self.spec.text + 1", "no such overload"),
        ("quantity(self.spec.text)", "quantities must match the regular expression"),
        ("quantity(self.spec.replicas)", "no such overload"),
        ("[].max()", "max called on empty list"),
    ],
)
def test_evaluation_errors(text: str, message: str) -> None:
    with pytest.raises(EvaluationError, match="^" + message.replace("(", r"\(")):
        evaluate(text)


def test_errors_of_one_side_do_not_matter_when_the_other_decides() -> None:
    assert evaluate("self.spec.nothing == 1 || self.spec.replicas == 3") is True


def test_a_string_that_looks_like_an_error_is_a_value() -> None:
    assert evaluate("'NOT_FOUND: really'") == "NOT_FOUND: really"


def test_declared_types_are_checked() -> None:
    program = compile_expression("self.map(x, x + 1)", {"self": "list(int)"})
    assert program.result_type == "list(int)"
    assert program.evaluate({"self": [1, 2]}) == [2, 3]
    with pytest.raises(CompileError):
        compile_expression("self + 'x'", {"self": "int"})


def test_optional_variables() -> None:
    program = compile_expression("oldSelf.hasValue() ? oldSelf.value() : self", ("self",), optional=("oldSelf",))
    assert program.evaluate({"self": 1}) == 1
    assert program.evaluate({"self": 1, "oldSelf": Optional(True, 5)}) == 5


def test_optional_results() -> None:
    assert evaluate("self.spec.?replicas") == Optional(True, 3)
    assert evaluate("self.spec.?nothing") == Optional()


def test_functions_of_the_caller() -> None:
    twice = Function("twice", ("int",), "int", lambda value: 2 * value, member=True)
    assert compile_expression("self.twice()", {"self": "int"}, functions=(twice,)).evaluate({"self": 21}) == 42


def test_dotted_variables() -> None:
    assert compile_expression("variables.a + 1", ("variables.a",)).evaluate({"variables.a": 1}) == 2


# The binding cuts keys of maps at a zero character.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts | st.floats(allow_nan=False),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(texts, below, max_size=3),
    max_leaves=10,
)


@given(json_values)
def test_json_passes_through_unchanged(value: Any) -> None:
    program = compile_expression("[self]", ("self",))
    assert program.evaluate({"self": value}) == [value]
