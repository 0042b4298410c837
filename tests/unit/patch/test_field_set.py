"""Sets of fields against plain Python sets of paths: the algebra, the stored form, the printed paths."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from twinplane.controlplane.api.patch.field_set import (
    SELF,
    FieldSet,
    difference,
    intersection,
    is_member,
    node_of,
    ordered,
    paths,
    union,
)

Path = tuple[str, ...]

all_paths = st.lists(st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"y"']), min_size=1, max_size=3).map(tuple)
path_sets = st.frozensets(all_paths, max_size=6)


def build(members: frozenset[Path]) -> FieldSet:
    children: dict[str, set[Path]] = {}
    for path in members:
        children.setdefault(path[0], set()).add(path[1:])
    built: FieldSet = {}
    for element, rests in children.items():
        node = node_of(build(frozenset(rest for rest in rests if rest)), member=() in rests)
        assert node is not None
        built[element] = node
    return built


def members_of(fields: FieldSet, prefix: Path = ()) -> frozenset[Path]:
    found: set[Path] = set()
    for element, node in fields.items():
        if element != SELF:
            if is_member(node):
                found.add((*prefix, element))
            found |= members_of(node, (*prefix, element))
    return frozenset(found)


@given(path_sets, path_sets)
def test_algebra(left: frozenset[Path], right: frozenset[Path]) -> None:
    assert members_of(build(left)) == left
    assert members_of(union(build(left), build(right))) == left | right
    assert members_of(intersection(build(left), build(right))) == left & right
    assert members_of(difference(build(left), build(right))) == left - right


@given(path_sets, path_sets)
def test_results_are_in_normal_form(left: frozenset[Path], right: frozenset[Path]) -> None:
    assert union(build(left), build(right)) == build(left | right)
    assert intersection(build(left), build(right)) == build(left & right)
    assert difference(build(left), build(right)) == build(left - right)


def test_stored_form() -> None:
    fields: dict[str, Any] = {"f:spec": {"f:b": {}, "f:a": {"f:x": {}, ".": {}}}}
    text = str(ordered(fields))
    assert text == "{'f:spec': {'f:a': {'.': {}, 'f:x': {}}, 'f:b': {}}}"


def test_printed_paths() -> None:
    fields: dict[str, Any] = {
        "f:spec": {
            "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:hostPort": {}}},
            "f:finalizers": {'v:"a/b"': {}},
        }
    }
    assert list(paths(fields)) == [
        '.spec.finalizers[="a/b"]',
        '.spec.ports[containerPort=80,protocol="TCP"]',
        '.spec.ports[containerPort=80,protocol="TCP"].hostPort',
    ]
