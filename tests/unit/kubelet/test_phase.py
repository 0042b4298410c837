"""The phase of a pod whose containers have rules and policies of their own about running again."""

from __future__ import annotations

from typing import Any

import pytest

from twinplane.dataplane.kubelet.status.phase import pod_phase

THIS = {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}
AGAIN = {"restartPolicy": "Never", "restartPolicyRules": [THIS]}
NOT_THESE = {"action": "Restart", "exitCodes": {"operator": "NotIn", "values": [1, 2]}}


def ended(code: int) -> dict[str, Any]:
    return {"state": {"terminated": {"exitCode": code}}, "lastState": {}}


def backing_off(code: int) -> dict[str, Any]:
    return {"state": {"waiting": {}}, "lastState": {"terminated": {"exitCode": code}}}


@pytest.mark.parametrize(
    ("policy", "container", "status", "expected"),
    [
        ("Never", {}, ended(0), "Succeeded"),
        ("Never", {}, ended(1), "Failed"),
        ("OnFailure", {}, ended(0), "Succeeded"),
        ("OnFailure", {}, ended(1), "Running"),
        ("Always", {}, ended(0), "Running"),
        ("Never", AGAIN, ended(42), "Running"),
        ("Never", AGAIN, backing_off(42), "Running"),
        ("Never", AGAIN, ended(41), "Failed"),
        ("Always", AGAIN, ended(41), "Failed"),
        ("Never", {"restartPolicy": "Never", "restartPolicyRules": [NOT_THESE]}, ended(3), "Running"),
        ("Never", {"restartPolicy": "Never", "restartPolicyRules": [NOT_THESE]}, ended(2), "Failed"),
        ("Never", {"restartPolicy": "OnFailure"}, ended(2), "Running"),
    ],
)
def test_main_containers(policy: str, container: dict[str, Any], status: dict[str, Any], expected: str) -> None:
    pod = {"spec": {"restartPolicy": policy, "containers": [{"name": "c", **container}]}}
    assert pod_phase(pod, {}, {"c": status}, over=False) == expected


@pytest.mark.parametrize(
    ("policy", "container", "code", "expected"),
    [
        ("Never", {}, 1, "Failed"),
        ("OnFailure", {}, 1, "Pending"),
        ("Never", AGAIN, 42, "Pending"),
        ("Always", AGAIN, 41, "Failed"),
        ("Never", {"restartPolicy": "Always"}, 1, "Pending"),
    ],
)
def test_init_containers(policy: str, container: dict[str, Any], code: int, expected: str) -> None:
    inits = [{"name": "i", **container}]
    pod = {"spec": {"restartPolicy": policy, "initContainers": inits, "containers": [{"name": "c"}]}}
    assert pod_phase(pod, {"i": ended(code)}, {}, over=False) == expected
