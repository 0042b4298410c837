"""Pod Security Standards: the three levels, the three modes, upstream's words."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.admission.requests import request, send
from tests.unit.auth.fakes import Cluster, named
from twinplane.controlplane.admission.pod_security import PodSecurity
from twinplane.controlplane.admission.pod_security_checks import violations
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import copied
from twinplane.kubeclient.resources import DEPLOYMENTS, NAMESPACES, PODS

GOOD = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def spec(security: Object | None = None, container: Object | None = None, **fields: Any) -> Object:
    return {"containers": [{"name": "c", "securityContext": security or {}, **(container or {})}], **fields}


def plugin(**labels: str) -> PodSecurity:
    named_labels = {f"pod-security.kubernetes.io/{mode.replace('_', '-')}": level for mode, level in labels.items()}
    return PodSecurity(Cluster((NAMESPACES, {"metadata": {"name": "shop", "labels": named_labels}})).reader)


async def test_a_bare_pod_is_not_restricted_enough() -> None:
    with pytest.raises(ApiError) as caught:
        await send(request(PODS, named("web", "shop", spec=spec())), plugin(enforce="restricted"))
    assert caught.value.message == (
        'pods "web" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false '
        '(container "c" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities '
        '(container "c" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container '
        '"c" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container "c" must set '
        'securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")'
    )


async def test_a_careful_pod_is_let_in() -> None:
    await send(request(PODS, named("web", "shop", spec=spec(GOOD))), plugin(enforce="restricted"))
    whole = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    partly = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}
    assert violations("restricted", "latest", {}, spec(partly, securityContext=whole)) == []


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (spec(hostNetwork=True, hostPID=True), "host namespaces (hostNetwork=true, hostPID=true)"),
        (spec({"privileged": True}), 'privileged (container "c" must not set securityContext.privileged=true)'),
        (
            spec({"capabilities": {"add": ["NET_ADMIN", "CHOWN"]}}),
            'non-default capabilities (container "c" must not include "NET_ADMIN" in securityContext.capabilities.add)',
        ),
        (spec(volumes=[{"name": "v", "hostPath": {"path": "/"}}]), 'hostPath volumes (volume "v")'),
        (spec(container={"ports": [{"hostPort": 80}]}), 'hostPort (container "c" uses hostPort 80)'),
        (
            spec({"seccompProfile": {"type": "Unconfined"}}),
            'seccompProfile (container "c" must not set securityContext.seccompProfile.type to "Unconfined")',
        ),
        (spec(securityContext={"sysctls": [{"name": "kernel.msgmax"}]}), "forbidden sysctls (kernel.msgmax)"),
        (
            spec({"procMount": "Unmasked"}),
            'procMount (container "c" must not set securityContext.procMount to "Unmasked")',
        ),
        (spec({"seLinuxOptions": {"type": "spc_t"}}), 'seLinuxOptions (type "spc_t")'),
        (
            spec({"windowsOptions": {"hostProcess": True}}),
            'hostProcess (container "c" must not set securityContext.windowsOptions.hostProcess=true)',
        ),
        (
            spec(container={"livenessProbe": {"httpGet": {"host": "10.0.0.1"}}}),
            'probe or lifecycle host (container "c" uses host "10.0.0.1")',
        ),
    ],
)
def test_baseline(bad: Object, why: str) -> None:
    assert violations("baseline", "latest", {}, bad) == [why]
    assert violations("privileged", "latest", {}, bad) == []


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (
            spec(GOOD, volumes=[{"name": "v", "nfs": {"path": "/"}}]),
            'restricted volume types (volume "v" uses restricted volume type "nfs")',
        ),
        (spec(GOOD | {"runAsUser": 0}), 'runAsUser=0 (container "c" must not set runAsUser=0)'),
        (
            spec(GOOD | {"runAsNonRoot": False}),
            'runAsNonRoot != true (container "c" must not set securityContext.runAsNonRoot=false)',
        ),
        (
            spec(GOOD | {"capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}}),
            'unrestricted capabilities (container "c" must not include "CHOWN" in securityContext.capabilities.add)',
        ),
    ],
)
def test_restricted(bad: Object, why: str) -> None:
    assert violations("restricted", "latest", {}, bad) == [why]
    assert violations("baseline", "latest", {}, bad) == []


def test_older_versions_check_less() -> None:
    text = " ".join(violations("restricted", "v1.7", {}, spec()))
    assert "allowPrivilegeEscalation" not in text
    assert "seccompProfile" not in text


def test_windows_pods_need_no_linux_settings() -> None:
    assert violations("restricted", "latest", {}, spec({"runAsNonRoot": True}, os={"name": "windows"})) == []


async def test_app_armor_annotations() -> None:
    annotations = {"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}
    (text,) = violations("baseline", "latest", {"annotations": annotations}, spec())
    assert text == ('forbidden AppArmor profile ("container.apparmor.security.beta.kubernetes.io/c=unconfined")')


async def test_workloads_are_warned_about_and_not_refused() -> None:
    deployment = named("web", "shop", spec={"template": {"spec": spec({"privileged": True})}})
    asked = request(DEPLOYMENTS, deployment)
    await send(asked, plugin(enforce="baseline", warn="baseline", audit="baseline", warn_version="v1.30"))
    (warning,) = asked.warnings
    assert warning == (
        'would violate PodSecurity "baseline:v1.30": privileged (container "c" must not set '
        "securityContext.privileged=true)"
    )
    assert "pod-security.kubernetes.io/audit-violations" in asked.annotations


async def test_namespaces_without_labels_cost_nothing() -> None:
    asked = request(PODS, named("web", "shop", spec=spec({"privileged": True})))
    await send(asked, plugin())
    assert asked.warnings == []


async def test_an_update_that_changes_no_container_is_let_through() -> None:
    body = named("web", "shop", spec=spec({"privileged": True}))
    await send(request(PODS, copied(body), old=body), plugin(enforce="baseline"))


async def test_labels_of_namespaces_are_checked() -> None:
    labels = {"pod-security.kubernetes.io/enforce": "strict", "pod-security.kubernetes.io/warn-version": "1.2"}
    with pytest.raises(ApiError) as caught:
        await send(request(NAMESPACES, {"metadata": {"name": "shop", "labels": labels}}), plugin())
    assert caught.value.code == 422
    assert "must be one of privileged, baseline, restricted" in caught.value.message


def labelled(**labels: str) -> Object:
    found = {f"pod-security.kubernetes.io/{mode.replace('_', '-')}": level for mode, level in labels.items()}
    return {"metadata": {"name": "shop", "labels": found}}


async def test_a_stricter_level_warns_of_the_pods_that_are_there() -> None:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "1", "controller": True}
    pods = [named(name, "shop", spec=spec({"privileged": True})) for name in ("web-2", "web-1", "web-3")]
    for pod in pods:
        pod["metadata"]["ownerReferences"] = [owner]
    checks = PodSecurity(Cluster((NAMESPACES, labelled()), *((PODS, pod) for pod in pods)).reader)

    async def warnings(old: Object, new: Object) -> list[str]:
        asked = request(NAMESPACES, new, old=old)
        await send(asked, checks)
        return asked.warnings

    assert await warnings(labelled(), labelled(enforce="baseline")) == [
        'existing pods in namespace "shop" violate the new PodSecurity enforce level "baseline:latest"',
        "web-1 (and 2 other pods): privileged",
    ]
    assert await warnings(labelled(enforce="restricted"), labelled(enforce="baseline")) == []
    assert await warnings(labelled(enforce="baseline"), labelled(enforce="baseline", warn="restricted")) == []
    assert await warnings(labelled(enforce="baseline"), labelled(enforce="privileged")) == []
    (_, reasons) = await warnings(labelled(enforce="baseline"), labelled(enforce="baseline", enforce_version="v1.20"))
    assert reasons == "web-1 (and 2 other pods): privileged"
