"""The steps of a DaemonSet's update, by the pods that its nodes have: upstream's `rollingUpdate`, `podsShouldBeOnNode`.

A pod is written as letters: `n` of the new template or `o` of an old one, then `+` ready, `-` not ready, `x` being
deleted (still ready), `f` failed.
"""

from __future__ import annotations

from typing import Any

import pytest

from twinplane.controlplane.controllers.daemonset.placement import Fit, by_node
from twinplane.controlplane.controllers.daemonset.rollout import Plan, View, manage, roll, status_of
from twinplane.controlplane.controllers.revisions import HASH_LABEL
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import name_of
from twinplane.testing.virtual_time import EPOCH

RUN, TAINTED = Fit(True, True), Fit(False, True)


def pod(node: str, number: int, letters: str) -> Object:
    """The first of a node is the oldest; what stands in brackets waits to be bound."""
    template, state = letters.strip("()")[0], letters.strip("()")[1]
    made: Object = {
        "metadata": {
            "name": f"{node}{number}{letters}",
            "labels": {HASH_LABEL: "new" if template == "n" else "old"},
            "creationTimestamp": f"2023-01-01T00:00:{number:02}Z",
        },
        "spec": {"nodeName": node},
        "status": {"phase": "Failed" if state == "f" else "Running"},
    }
    if state in "+x":
        made["status"]["conditions"] = [{"type": "Ready", "status": "True", "lastTransitionTime": None}]
    if state == "x":
        made["metadata"]["deletionTimestamp"] = "2023-01-01T00:01:00Z"
    if letters.startswith("("):
        term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
        required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
        made["spec"] = {"affinity": {"nodeAffinity": required}}
    return made


def view(nodes: dict[str, str], *, tainted: str = "", gone: str = "", **rolling: Any) -> View:
    """`nodes` by name, with their pods; the update's limits are `rolling`."""
    body = {
        "metadata": {"name": "ds"},
        "spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}},
    }
    pods = [pod(node, at, letters) for node, listed in nodes.items() for at, letters in enumerate(listed.split())]
    fits = {node: TAINTED if node in tainted else RUN for node in nodes if node not in gone}
    return View(body, "new", fits, by_node(pods), EPOCH)


def told(plan: Plan) -> tuple[list[str], list[str]]:
    return sorted(plan.create), sorted(name_of(entry) for entry in plan.delete)


ONE: dict[str, Any] = {"maxUnavailable": 1}
SURGE: dict[str, Any] = {"maxSurge": 1, "maxUnavailable": 0}


@pytest.mark.parametrize(
    ("nodes", "limits", "delete"),
    [
        ({"a": "o+", "b": "o+", "c": "n+"}, ONE, ["a0o+"]),
        ({"a": "o+", "b": "o-", "c": "o-"}, ONE, ["b0o-", "c0o-"]),
        ({"a": "o+", "b": "n-"}, ONE, []),
        ({"a": "o+", "b": "ox"}, ONE, []),
        ({"a": "o+", "b": ""}, ONE, []),
        ({"a": "o+", "b": "o+ n+"}, ONE, []),
        ({"a": "o+", "b": "o+", "c": "ox n+"}, ONE, ["a0o+"]),
        ({"a": "o+", "b": "o+"}, {"maxUnavailable": 0, "maxSurge": 0}, ["a0o+"]),
        ({"a": "o+", "b": "o+", "c": "o+"}, {"maxUnavailable": "50%"}, ["a0o+", "b0o+"]),
    ],
)
def test_by_deletion(nodes: dict[str, str], limits: Any, delete: list[str]) -> None:
    assert told(roll(view(nodes, **limits))) == ([], delete)


@pytest.mark.parametrize(
    ("nodes", "tainted", "create", "delete"),
    [
        ({"a": "o+", "b": "o+"}, "", ["a"], []),
        ({"a": "o+", "b": "o+ n-"}, "", [], []),
        ({"a": "o+", "b": "o+ n+"}, "", ["a"], ["b0o+"]),
        ({"a": "o+", "b": "o-"}, "", ["a", "b"], []),
        ({"a": "o+", "b": "o- nx"}, "", ["a", "b"], []),
        ({"a": "o+", "b": "n+"}, "a", [], ["a0o+"]),
        ({"a": "o+", "b": ""}, "a", [], []),
        ({"a": "o-", "b": "n+"}, "a", [], ["a0o-"]),
        ({"a": "o+ n+", "b": "n+"}, "a", [], ["a0o+"]),
        ({"a": "o+", "b": "o+ o+"}, "", [], []),
    ],
)
def test_by_surge(nodes: dict[str, str], tainted: str, create: list[str], delete: list[str]) -> None:
    assert told(roll(view(nodes, tainted=tainted, **SURGE))) == (create, delete)


@pytest.mark.parametrize(
    ("nodes", "limits", "create", "delete"),
    [
        ({"a": "", "b": "n+"}, ONE, ["a"], []),
        ({"a": "n+ n+ o+"}, ONE, [], ["a1n+", "a2o+"]),
        ({"a": "nx"}, ONE, [], []),
        ({"a": "nx"}, SURGE, ["a"], []),
        ({"a": "nf"}, SURGE, ["a"], []),
        ({"a": "o+ n-"}, SURGE, [], []),
        ({"a": "o- n-"}, SURGE, [], ["a0o-"]),
        ({"a": "o+ n+"}, SURGE, [], ["a0o+"]),
        ({"a": "o+ o+ n- n-"}, SURGE, [], ["a1o+", "a3n-"]),
    ],
)
def test_what_a_node_should_have(nodes: dict[str, str], limits: Any, create: list[str], delete: list[str]) -> None:
    assert told(manage(view(nodes, **limits))) == (create, delete)


def test_a_pod_that_waits_for_a_node_that_is_gone() -> None:
    found = view({"a": "n+", "b": "(n-) n+"}, gone="b", **ONE)
    assert told(manage(found)) == ([], ["b0(n-)"])


def test_the_oldest_pod_of_a_node_counts() -> None:
    found = status_of(view({"a": "o+ n-", "b": "n+", "c": "ox n+"}, **SURGE))
    assert (found["numberReady"], found["numberAvailable"], found["updatedNumberScheduled"]) == (3, 3, 1)
    finished = pod("d", 0, "nf")
    finished["metadata"]["deletionTimestamp"] = "2023-01-01T00:01:00Z"
    assert by_node([finished]) == {}
