"""What pods of one template share, and what is each pod's own."""

from __future__ import annotations

from typing import Any

from tests.unit.simulation.world import pod
from twinplane.dataplane.simulation.pod_record import Records
from twinplane.dataplane.simulation.pod_spec import Replicas, pod_spec
from twinplane.kubeclient.contract import Object


def seen(records: Records, name: str, **container: Any) -> Object:
    """A pod as the informer keeps it."""
    made = pod(name)
    made["metadata"]["uid"] = name
    made["spec"]["containers"][0] |= container
    return records.slim(made)


def test_replicas_share_their_containers_and_requests() -> None:
    records, replicas = Records(lambda uid: False), Replicas()
    resources = {"requests": {"cpu": "100m"}}
    one, two = (seen(records, name, resources=resources) for name in ("one", "two"))
    assert pod_spec(one, replicas).containers is pod_spec(two, replicas).containers
    assert pod_spec(one, replicas) == pod_spec(one)
    assert replicas.requests(one) is replicas.requests(two)
    assert replicas.requests(one) == {"cpu": 100}


def test_other_containers_are_not_confused() -> None:
    records, replicas = Records(lambda uid: False), Replicas()
    for number in range(50):
        body = seen(records, "p", image=f"image:{number}")
        assert pod_spec(body, replicas).containers[0].image == f"image:{number}"


def test_variables_keep_pods_apart() -> None:
    records, replicas = Records(lambda uid: False), Replicas()
    env = [{"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    bodies = [seen(records, name, command=["echo", "$(WHO)"], env=env) for name in ("one", "two")]
    outcomes = [pod_spec(body, replicas).containers[0].outcome for body in bodies]
    assert [found.lines for found in outcomes if found is not None] == [("one",), ("two",)]


def test_ephemeral_containers_are_the_pods_own() -> None:
    records, replicas = Records(lambda uid: False), Replicas()
    made = pod("one")
    made["metadata"]["uid"] = "one"
    made["spec"]["ephemeralContainers"] = [{"name": "debug", "image": "busybox"}]
    debugged = pod_spec(records.slim(made), replicas)
    assert [container.name for container in debugged.containers] == ["main", "debug"]
    assert [container.name for container in pod_spec(seen(records, "two"), replicas).containers] == ["main"]
