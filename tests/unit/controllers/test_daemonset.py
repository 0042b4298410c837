from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.unit.controllers.world import World, pod_template, running

from twinplane.controlplane.controllers.contract import Context, Controller
from twinplane.controlplane.controllers.daemonset.controller import DaemonSetController
from twinplane.controlplane.controllers.daemonset.placement import fit, node_of
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import CONTROLLER_REVISIONS, DAEMON_SETS, NODES, PODS
from twinplane.testing.virtual_time import VirtualClock, virtual_time

LABELS = {"app": "agent"}


def build(context: Context) -> Sequence[Controller]:
    return [DaemonSetController(context)]


def node(name: str, *, taints: Sequence[Object] = (), **labels: str) -> Object:
    return {"metadata": {"name": name, "labels": labels}, "spec": {"taints": list(taints)}, "status": {}}


def daemon_set(template: Object | None = None, **spec: Any) -> Object:
    return {
        "metadata": {"name": "agent", "namespace": "default"},
        "spec": {"selector": {"matchLabels": LABELS}, "template": template or pod_template(LABELS), **spec},
    }


def where(world: World) -> list[str]:
    return sorted(node_of(pod) for pod in world.pods())


async def set_image(world: World, image: str) -> None:
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}}
    await world.cluster.patch(DAEMON_SETS, "agent", patch, "default")


NO_SCHEDULE = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}
NO_EXECUTE = {"key": "dedicated", "value": "gpu", "effect": "NoExecute"}


@virtual_time
async def test_one_pod_a_node_as_upstream_makes_it(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        world.cluster.seed(NODES, node("n1"), node("n2"))
        await world.cluster.create(DAEMON_SETS, daemon_set())
        await world.settle()
        assert where(world) == ["n1", "n2"]
        pod = next(pod for pod in world.pods() if node_of(pod) == "n1")
        required = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert required == {
            "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]
        }
        assert {entry["key"] for entry in pod["spec"]["tolerations"]} == {
            f"node.kubernetes.io/{name}"
            for name in (
                "not-ready",
                "unreachable",
                "disk-pressure",
                "memory-pressure",
                "pid-pressure",
                "unschedulable",
            )
        }
        assert world.one(DAEMON_SETS, "agent")["status"] == {
            "currentNumberScheduled": 2,
            "numberMisscheduled": 0,
            "desiredNumberScheduled": 2,
            "numberReady": 2,
            "observedGeneration": 1,
            "updatedNumberScheduled": 2,
            "numberAvailable": 2,
        }
        (revision,) = world.cluster.objects(CONTROLLER_REVISIONS)
        assert revision["data"]["spec"]["template"]["$patch"] == "replace"
        assert (
            pod["metadata"]["labels"]["controller-revision-hash"]
            == (revision["metadata"]["labels"]["controller-revision-hash"])
        )


@virtual_time
async def test_nodes_come_and_go_and_change(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        template = pod_template(LABELS)
        template["spec"]["nodeSelector"] = {"pool": "a"}
        world.cluster.seed(NODES, node("n1", pool="a"), node("n2", pool="b"))
        await world.cluster.create(DAEMON_SETS, daemon_set(template))
        await world.settle()
        assert where(world) == ["n1"]
        world.cluster.seed(NODES, node("n3", pool="a"))
        await world.cluster.patch(NODES, "n2", {"metadata": {"labels": {"pool": "a"}}})
        await world.settle()
        assert where(world) == ["n1", "n2", "n3"]
        await world.cluster.patch(NODES, "n1", {"metadata": {"labels": {"pool": "b"}}})
        await world.settle()
        assert where(world) == ["n2", "n3"]


@virtual_time
async def test_taints(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        world.cluster.seed(NODES, node("n1"), node("n2"))
        await world.cluster.create(DAEMON_SETS, daemon_set())
        await world.settle()
        await world.cluster.patch(NODES, "n1", {"spec": {"taints": [NO_SCHEDULE]}})
        await world.settle()
        assert where(world) == ["n1", "n2"]
        assert world.one(DAEMON_SETS, "agent")["status"]["numberMisscheduled"] == 1
        await world.cluster.patch(NODES, "n1", {"spec": {"taints": [NO_EXECUTE]}})
        await world.settle()
        assert where(world) == ["n2"]


def test_fit() -> None:
    tolerant = daemon_set()
    tolerant["spec"]["template"]["spec"]["tolerations"] = [{"operator": "Exists"}]
    assert fit(daemon_set(), node("n")) == (True, True)
    assert fit(daemon_set(), node("n", taints=[NO_SCHEDULE])) == (False, True)
    assert fit(daemon_set(), node("n", taints=[NO_EXECUTE])) == (False, False)
    assert fit(tolerant, node("n", taints=[NO_EXECUTE])) == (True, True)


@virtual_time
async def test_rolling_update_one_at_a_time(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        world.cluster.seed(NODES, *(node(f"n{number}") for number in range(4)))
        await world.cluster.create(DAEMON_SETS, daemon_set(minReadySeconds=10))
        await world.settle(15)
        await set_image(world, "app:2")
        await world.settle(5)
        images = sorted(pod["spec"]["containers"][0]["image"] for pod in world.pods())
        assert images == ["app:1", "app:1", "app:1", "app:2"]
        await world.settle(60)
        assert {pod["spec"]["containers"][0]["image"] for pod in world.pods()} == {"app:2"}
        assert len(world.pods()) == 4


@virtual_time
async def test_surge_starts_the_new_one_first(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
        world.cluster.seed(NODES, node("n1"), node("n2"))
        await world.cluster.create(DAEMON_SETS, daemon_set(minReadySeconds=10, updateStrategy=strategy))
        await world.settle(15)
        await set_image(world, "app:2")
        await world.settle(5)
        images = sorted(pod["spec"]["containers"][0]["image"] for pod in world.pods())
        assert images == ["app:1", "app:1", "app:2"]
        await world.settle(60)
        assert [pod["spec"]["containers"][0]["image"] for pod in world.pods()] == ["app:2", "app:2"]


@virtual_time
async def test_on_delete_waits(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        world.cluster.seed(NODES, node("n1"))
        await world.cluster.create(DAEMON_SETS, daemon_set(updateStrategy={"type": "OnDelete"}))
        await world.settle()
        await set_image(world, "app:2")
        await world.settle(5)
        (pod,) = world.pods()
        assert pod["spec"]["containers"][0]["image"] == "app:1"
        await world.cluster.delete(PODS, pod["metadata"]["name"], "default")
        await world.settle()
        (pod,) = world.pods()
        assert pod["spec"]["containers"][0]["image"] == "app:2"


@virtual_time
async def test_failed_pods_are_replaced_with_back_off(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        world.cluster.seed(NODES, node("n1"))
        await world.cluster.create(DAEMON_SETS, daemon_set())
        for _ in range(4):
            await world.settle(0.2)
            for pod in world.pods():
                name = pod["metadata"]["name"]
                await world.cluster.patch(PODS, name, {"status": {"phase": "Failed"}}, "default", subresource="status")
        made = sum(verb == "create" and kind == PODS for verb, kind, _ in world.cluster.writes)
        assert made == 2
        await world.settle(10)
        assert [pod["status"]["phase"] for pod in world.pods()] == ["Running"]


@virtual_time
async def test_undo_reuses_the_revision(clock: VirtualClock) -> None:
    async with running(clock, build) as world:
        world.cluster.seed(NODES, node("n1"))
        await world.cluster.create(DAEMON_SETS, daemon_set())
        for image in ("app:2", "app:1"):
            await world.settle(2)
            await set_image(world, image)
        await world.settle(2)
        revisions = {
            entry["data"]["spec"]["template"]["spec"]["containers"][0]["image"]: entry["revision"]
            for entry in world.cluster.objects(CONTROLLER_REVISIONS)
        }
        assert revisions == {"app:1": 3, "app:2": 2}
