from __future__ import annotations

import pytest

from twinplane.controlplane.controllers import remembered
from twinplane.controlplane.controllers.contract import Key
from twinplane.controlplane.controllers.remembered import Remembered
from twinplane.kubeclient.contract import Object

A, B = Key("ns", "a"), Key("ns", "b")
BASIS: Object = {}


class Made:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, body: Object) -> str:
        self.asked.append(body["name"])
        return str(body["name"])


def bodies(*names: str) -> list[Object]:
    return [{"name": name} for name in names]


def test_each_object_is_worked_out_once() -> None:
    known: Remembered[str] = Remembered()
    make, basis, pods = Made(), BASIS, bodies("x", "y")
    assert known.of(A, basis, pods, make) == ["x", "y"]
    assert known.of(A, basis, [*reversed(pods), *bodies("z")], make) == ["y", "x", "z"]
    assert make.asked == ["x", "y", "z"]
    assert (known.count(A), known.count(B)) == (3, 0)


def test_another_object_basis_or_forgetting_begin_anew() -> None:
    known: Remembered[str] = Remembered()
    make, basis, pods = Made(), BASIS, bodies("x")
    known.of(A, basis, pods, make)
    known.of(A, basis, bodies("x"), make)
    known.of(A, {}, pods, make)
    known.of(B, basis, pods, make)
    known.forget(A)
    known.of(A, basis, pods, make)
    assert make.asked == ["x"] * 5


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "OBJECTS_MAX", 3)
    known: Remembered[str] = Remembered()
    make, basis, few, many = Made(), BASIS, bodies("x", "y"), bodies("p", "q")
    for pods, key in ((few, A), (many, B), (many, B), (few, A)):
        known.of(key, basis, pods, make)
    assert make.asked == ["x", "y", "p", "q", "x", "y"]
