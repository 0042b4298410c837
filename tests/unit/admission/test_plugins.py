"""The small plugins, one behaviour a test."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from tests.unit.admission.requests import request, send
from tests.unit.auth.fakes import Cluster, named
from twinplane.controlplane.admission.default_class import DefaultIngressClass, DefaultStorageClass
from twinplane.controlplane.admission.default_toleration_seconds import DefaultTolerationSeconds
from twinplane.controlplane.admission.extended_resource_toleration import ExtendedResourceToleration
from twinplane.controlplane.admission.namespace_lifecycle import NamespaceLifecycle
from twinplane.controlplane.admission.persistent_volume_claim_resize import PersistentVolumeClaimResize
from twinplane.controlplane.admission.pod_node_selector import PodNodeSelector
from twinplane.controlplane.admission.priority import Priority
from twinplane.controlplane.admission.runtime_class import RuntimeClass
from twinplane.controlplane.admission.service_account import ServiceAccount
from twinplane.controlplane.admission.storage_object_in_use_protection import StorageObjectInUseProtection
from twinplane.controlplane.admission.taint_nodes_by_condition import TaintNodesByCondition
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import (
    CONFIG_MAPS,
    INGRESS_CLASSES,
    INGRESSES,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    PRIORITY_CLASSES,
    RUNTIME_CLASSES,
    SERVICE_ACCOUNTS,
    STORAGE_CLASSES,
)
from twinplane.testing.virtual_time import virtual_time


def pod(**spec: Any) -> Object:
    return named("web", "shop", spec={"containers": [{"name": "c"}]} | spec)


async def refusal(*arguments: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await send(*arguments)
    return caught.value


async def test_nothing_is_created_in_a_missing_namespace() -> None:
    cluster = Cluster()
    error = await refusal(request(PODS, pod()), NamespaceLifecycle(cluster.reader, cluster))
    assert (error.code, error.message) == (404, 'namespaces "shop" not found')


async def test_nothing_is_created_in_a_terminating_namespace() -> None:
    dying = {"metadata": {"name": "shop", "deletionTimestamp": "2023-11-14T22:13:20Z"}}
    cluster = Cluster((NAMESPACES, dying))
    plugin = NamespaceLifecycle(cluster.reader, cluster)
    error = await refusal(request(CONFIG_MAPS, named("c", "shop")), plugin)
    assert error.code == 403
    assert error.message == (
        'configmaps "c" is forbidden: unable to create new content in namespace shop because it is being terminated'
    )
    assert error.details is not None
    assert error.details["causes"][0]["reason"] == "NamespaceTerminating"
    await send(request(CONFIG_MAPS, named("c", "shop"), old=named("c", "shop")), plugin)


async def test_three_namespaces_may_not_be_deleted() -> None:
    cluster = Cluster()
    plugin = NamespaceLifecycle(cluster.reader, cluster)
    error = await refusal(request(NAMESPACES, None, old=named("default")), plugin)
    assert error.message == 'namespaces "default" is forbidden: this namespace may not be deleted'
    await send(request(NAMESPACES, None, old=named("shop")), plugin)


def account(**fields: Any) -> ServiceAccount:
    return ServiceAccount(Cluster((SERVICE_ACCOUNTS, named("default", "shop", **fields))).reader, Random(1))


async def test_the_token_is_projected_as_upstream_projects_it() -> None:
    made = await send(request(PODS, pod(initContainers=[{"name": "i"}])), account())
    (volume,) = made["spec"]["volumes"]
    assert volume["name"].startswith("kube-api-access-")
    assert len(volume["name"]) == len("kube-api-access-") + 5
    sources = volume["projected"]["sources"]
    assert sources[0] == {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}
    assert volume["projected"]["defaultMode"] == 420
    assert all(
        made["spec"][key][0]["volumeMounts"][0]["name"] == volume["name"] for key in ("initContainers", "containers")
    )


@pytest.mark.parametrize(
    ("on_pod", "on_account", "mounted"), [(None, False, False), (True, False, True), (False, True, False)]
)
async def test_automount(on_pod: bool | None, on_account: bool, mounted: bool) -> None:
    body = pod() if on_pod is None else pod(automountServiceAccountToken=on_pod)
    made = await send(request(PODS, body), account(automountServiceAccountToken=on_account))
    assert bool(made["spec"].get("volumes")) is mounted


async def test_a_mount_of_ones_own_is_respected() -> None:
    mount = {"name": "mine", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
    made = await send(request(PODS, pod(containers=[{"name": "c", "volumeMounts": [mount]}])), account())
    assert "volumes" not in made["spec"]


async def test_pull_secrets_come_from_the_account() -> None:
    made = await send(request(PODS, pod()), account(imagePullSecrets=[{"name": "registry"}]))
    assert made["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    own = await send(request(PODS, pod(imagePullSecrets=[{"name": "x"}])), account(imagePullSecrets=[{"name": "y"}]))
    assert own["spec"]["imagePullSecrets"] == [{"name": "x"}]


async def test_a_missing_account_is_forbidden() -> None:
    error = await refusal(request(PODS, pod(serviceAccountName="build")), account())
    assert error.code == 403
    assert error.message == (
        'pods "web" is forbidden: error looking up service account shop/build: serviceaccount "build" not found'
    )


@virtual_time
async def test_the_default_account_is_waited_for() -> None:
    import asyncio

    cluster = Cluster()
    asyncio.get_running_loop().call_later(0.3, cluster.put, SERVICE_ACCOUNTS, named("default", "shop"))
    made = await send(request(PODS, pod()), ServiceAccount(cluster.reader, Random(1)))
    assert made["spec"]["serviceAccountName"] == "default"


async def test_mirror_pods_have_no_account() -> None:
    body = pod()
    body["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    assert "volumes" not in (await send(request(PODS, body), account()))["spec"]
    body["spec"]["serviceAccountName"] = "x"
    assert "may not reference service accounts" in (await refusal(request(PODS, body), account())).message


CLASSES = Cluster(
    (PRIORITY_CLASSES, named("high", value=1000, preemptionPolicy="Never")),
    (PRIORITY_CLASSES, named("usual", value=7, globalDefault=True)),
)


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({}, ("usual", 7, "PreemptLowerPriority")),
        ({"priorityClassName": "high"}, ("high", 1000, "Never")),
        ({"priorityClassName": "high", "priority": 1000}, ("high", 1000, "Never")),
    ],
)
async def test_priority(spec: Object, wanted: tuple[str, int, str]) -> None:
    made = (await send(request(PODS, pod(**spec)), Priority(CLASSES.reader)))["spec"]
    assert (made["priorityClassName"], made["priority"], made["preemptionPolicy"]) == wanted


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"priorityClassName": "gone"}, "no PriorityClass with name gone was found"),
        ({"priority": 5}, "the integer value of priority (5) must not be provided in pod spec; priority admission"),
        ({"priorityClassName": "high", "preemptionPolicy": "PreemptLowerPriority"}, "the string value of Preemption"),
    ],
)
async def test_bad_priorities(spec: Object, why: str) -> None:
    error = await refusal(request(PODS, pod(**spec)), Priority(CLASSES.reader))
    assert error.code == 403
    assert why in error.message


async def test_without_classes_priority_is_zero_and_updates_keep_it() -> None:
    plugin = Priority(Cluster().reader)
    made = await send(request(PODS, pod()), plugin)
    assert made["spec"]["priority"] == 0
    updated = await send(request(PODS, pod(), old=pod(priority=9, preemptionPolicy="Never")), plugin)
    assert (updated["spec"]["priority"], updated["spec"]["preemptionPolicy"]) == (9, "Never")


async def test_only_one_priority_class_is_the_default() -> None:
    error = await refusal(request(PRIORITY_CLASSES, named("x", value=1, globalDefault=True)), Priority(CLASSES.reader))
    assert "PriorityClass usual is already marked as default. Only one default can exist" in error.message


async def test_tolerations_are_added_once() -> None:
    own = {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
    made = await send(request(PODS, pod(tolerations=[own])), DefaultTolerationSeconds())
    keys = [(each["key"], each["tolerationSeconds"]) for each in made["spec"]["tolerations"]]
    assert keys == [("node.kubernetes.io/not-ready", 5), ("node.kubernetes.io/unreachable", 300)]
    everything = await send(request(PODS, pod(tolerations=[{"operator": "Exists"}])), DefaultTolerationSeconds())
    assert len(everything["spec"]["tolerations"]) == 1


async def test_new_nodes_are_not_ready() -> None:
    made = await send(request(NODES, named("n")), TaintNodesByCondition())
    assert made["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]


async def test_finalizers_of_storage() -> None:
    made = await send(request(PERSISTENT_VOLUME_CLAIMS, named("c", "shop")), StorageObjectInUseProtection())
    assert made["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]


def storage_class(name: str, created: str, default: str = "true", **fields: Any) -> Object:
    annotations = {"storageclass.kubernetes.io/is-default-class": default}
    return {"metadata": {"name": name, "creationTimestamp": created, "annotations": annotations}, **fields}


async def test_the_newest_default_storage_class_is_taken() -> None:
    cluster = Cluster(
        (STORAGE_CLASSES, storage_class("gp2", "2023-01-01T00:00:00Z")),
        (STORAGE_CLASSES, storage_class("gp3", "2024-01-01T00:00:00Z")),
        (STORAGE_CLASSES, storage_class("io2", "2025-01-01T00:00:00Z", "false")),
    )
    plugin = DefaultStorageClass(cluster.reader)
    made = await send(request(PERSISTENT_VOLUME_CLAIMS, named("c", "shop", spec={})), plugin)
    assert made["spec"]["storageClassName"] == "gp3"
    none = await send(request(PERSISTENT_VOLUME_CLAIMS, named("c", "shop", spec={"storageClassName": ""})), plugin)
    assert none["spec"]["storageClassName"] == ""


async def test_the_default_ingress_class() -> None:
    def ingress_class(name: str, day: int, *, default: str = "true") -> Object:
        annotations = {"ingressclass.kubernetes.io/is-default-class": default}
        made = f"2026-01-{day:02}T00:00:00Z"
        return {"metadata": {"name": name, "annotations": annotations, "creationTimestamp": made}}

    async def given() -> str:
        return str((await send(request(INGRESSES, named("i", "shop")), plugin))["spec"]["ingressClassName"])

    cluster = Cluster(
        (INGRESS_CLASSES, ingress_class("alb", 2)), (INGRESS_CLASSES, ingress_class("other", 9, default="no"))
    )
    plugin = DefaultIngressClass(cluster.reader)
    assert await given() == "alb"
    cluster.put(INGRESS_CLASSES, ingress_class("a-old", 1))
    assert await given() == "alb", "the newest"
    cluster.put(INGRESS_CLASSES, ingress_class("a-new", 2))
    assert await given() == "a-new", "the first by name among equals"


async def test_runtime_classes() -> None:
    fields: dict[str, Any] = {
        "overhead": {"podFixed": {"cpu": "250m"}},
        "scheduling": {"nodeSelector": {"kata": "yes"}},
    }
    plugin = RuntimeClass(Cluster((RUNTIME_CLASSES, named("kata", **fields))).reader)
    made = (await send(request(PODS, pod(runtimeClassName="kata")), plugin))["spec"]
    assert (made["overhead"], made["nodeSelector"]) == ({"cpu": "250m"}, {"kata": "yes"})
    for spec, why in (
        ({"runtimeClassName": "gone"}, 'RuntimeClass "gone" not found'),
        ({"runtimeClassName": "kata", "overhead": {"cpu": "1"}}, "doesn't match"),
        ({"runtimeClassName": "kata", "nodeSelector": {"kata": "no"}}, "conflict"),
        ({"overhead": {"cpu": "1"}}, "without corresponding"),
    ):
        assert why in (await refusal(request(PODS, pod(**spec)), plugin)).message


def claim(size: str, phase: str = "Bound") -> Object:
    spec = {"storageClassName": "gp3", "resources": {"requests": {"storage": size}}}
    return named("c", "shop", spec=spec, status={"phase": phase})


async def test_claims_grow_when_their_class_allows() -> None:
    cluster = Cluster((STORAGE_CLASSES, named("gp3", allowVolumeExpansion=True)))
    plugin = PersistentVolumeClaimResize(cluster.reader)
    await send(request(PERSISTENT_VOLUME_CLAIMS, claim("2Gi"), old=claim("1Gi")), plugin)
    await send(request(PERSISTENT_VOLUME_CLAIMS, claim("1024Mi"), old=claim("1Gi")), plugin)
    unbound = await refusal(request(PERSISTENT_VOLUME_CLAIMS, claim("2Gi"), old=claim("1Gi", "Pending")), plugin)
    assert "Only bound persistent volume claims can be expanded" in unbound.message
    cluster.put(STORAGE_CLASSES, named("gp3"))
    fixed = await refusal(request(PERSISTENT_VOLUME_CLAIMS, claim("2Gi"), old=claim("1Gi")), plugin)
    assert "storageclass that provisions the pvc must support resize" in fixed.message
    assert (await refusal(request(PERSISTENT_VOLUME_CLAIMS, claim("x"), old=claim("1Gi")), plugin)).code == 400


async def test_a_namespaces_node_selector() -> None:
    annotations = {"scheduler.alpha.kubernetes.io/node-selector": "team=a, zone=1"}
    cluster = Cluster((NAMESPACES, {"metadata": {"name": "shop", "annotations": annotations}}))
    made = await send(request(PODS, pod(nodeSelector={"disk": "ssd"})), PodNodeSelector(cluster.reader))
    assert made["spec"]["nodeSelector"] == {"disk": "ssd", "team": "a", "zone": "1"}
    error = await refusal(request(PODS, pod(nodeSelector={"team": "b"})), PodNodeSelector(cluster.reader))
    assert "conflicts with its namespace node label selector" in error.message


async def test_extended_resources_are_tolerated() -> None:
    resources = {"requests": {"cpu": "1", "nvidia.com/gpu": "1"}}
    made = await send(
        request(PODS, pod(containers=[{"name": "c", "resources": resources}])), ExtendedResourceToleration()
    )
    assert made["spec"]["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]


async def test_a_default_priority_class_counts_as_soon_as_it_is_there() -> None:
    cluster = Cluster()
    plugin = Priority(cluster.reader)
    assert (await send(request(PODS, pod()), plugin))["spec"]["priority"] == 0
    cluster.put(PRIORITY_CLASSES, named("high", value=7, globalDefault=True))
    assert (await send(request(PODS, pod()), plugin))["spec"]["priority"] == 7
    cluster.put(PRIORITY_CLASSES, named("high", value=7))
    assert (await send(request(PODS, pod()), plugin))["spec"]["priority"] == 0


async def test_token_volumes_have_a_name_that_is_free_in_their_pod() -> None:
    cluster = Cluster()
    cluster.put(SERVICE_ACCOUNTS, named("default", "shop"))
    plugin = ServiceAccount(cluster.reader, Random(1))

    async def name_in(body: Object) -> str:
        return str((await send(request(PODS, body), plugin))["spec"]["volumes"][-1]["name"])

    first = await name_in(pod())
    assert first.startswith("kube-api-access-")
    assert await name_in(pod()) == first
