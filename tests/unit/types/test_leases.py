"""Validation of Leases: what leader election of client-go writes, and what upstream refuses."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.types import objects
from tests.unit.types.conftest import Writer


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"holderIdentity": "", "leaseDurationSeconds": 1, "leaseTransitions": 0}, ""),
        ({"leaseDurationSeconds": 0}, "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"),
        (
            {"leaseTransitions": -1},
            "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
        ),
        ({"strategy": "OldestEmulationVersion", "preferredHolder": "a"}, ""),
        ({"strategy": "example.com/mine"}, ""),
        (
            {"strategy": "Newest"},
            'spec.strategy.strategy: Unsupported value: "Newest": supported values: "OldestEmulationVersion"',
        ),
        ({"preferredHolder": "a"}, "spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined"),
    ],
)
def test_leases(writer: Writer, spec: dict[str, Any], expected: str) -> None:
    body = objects.make("coordination.k8s.io/v1", "Lease", spec=spec)
    assert writer.create(body)[1] == ([expected] if expected else [])
