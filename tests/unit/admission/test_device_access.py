"""When a taint of a device was added, who may ask for admin access to devices, and who writes the status of claims."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.admission.requests import request, send
from tests.unit.auth.fakes import Cluster, FixedClock, named
from twinplane.controlplane.admission.device_access import DeviceAccess
from twinplane.controlplane.admission.device_status import DeviceStatus
from twinplane.controlplane.auth.contract import Attributes, Decision, UserInfo
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import copied
from twinplane.kubeclient.resources import (
    DEVICE_TAINT_RULES,
    NAMESPACES,
    RESOURCE_CLAIM_TEMPLATES,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
)

NOW = "2023-11-14T22:13:20Z"
EARLIER = "2023-01-01T00:00:00Z"
LABEL = "resource.kubernetes.io/admin-access"


def plugin(**labels: str) -> DeviceAccess:
    space = {"metadata": {"name": "shop", "labels": labels}}
    return DeviceAccess(Cluster((NAMESPACES, space)).reader, FixedClock())


async def test_taints_are_dated() -> None:
    dated = {"key": "b", "effect": "NoExecute", "timeAdded": EARLIER}
    devices = [{"name": "0", "taints": [{"key": "a", "effect": "NoSchedule"}, dated]}, {"name": "1"}]
    body = await send(request(RESOURCE_SLICES, named("s", spec={"devices": devices})), plugin())
    assert [taint["timeAdded"] for taint in body["spec"]["devices"][0]["taints"]] == [NOW, EARLIER]
    taint = {"key": "a", "effect": "None"}
    rule = await send(request(DEVICE_TAINT_RULES, named("r", spec={"taint": taint})), plugin())
    assert rule["spec"]["taint"]["timeAdded"] == NOW


@pytest.mark.parametrize(("effect", "added"), [("None", EARLIER), ("NoExecute", NOW)])
async def test_a_rule_whose_effect_changes_starts_anew(effect: str, added: str) -> None:
    old = named("r", spec={"taint": {"key": "a", "effect": "None", "timeAdded": EARLIER}})
    new = copied(old)
    new["spec"]["taint"]["effect"] = effect
    rule = await send(request(DEVICE_TAINT_RULES, new, old=old), plugin())
    assert rule["spec"]["taint"]["timeAdded"] == added


def asking(admin: bool) -> Object:
    requests = [
        {"name": "plain", "exactly": {"deviceClassName": "gpu"}},
        {"name": "admin", "exactly": {"deviceClassName": "gpu", "adminAccess": admin}},
    ]
    return {"devices": {"requests": requests}}


async def test_admin_access_is_for_namespaces_that_are_labelled() -> None:
    template = named("t", "shop", spec={"spec": asking(True)})
    claim = named("c", "shop", spec=asking(True))
    for resource, body in ((RESOURCE_CLAIMS, claim), (RESOURCE_CLAIM_TEMPLATES, template)):
        with pytest.raises(ApiError) as caught:
            await send(request(resource, body), plugin(**{LABEL: "false"}))
        assert caught.value.code == 422
        assert caught.value.message == (
            f'{resource.kind}.resource.k8s.io "{body["metadata"]["name"]}" is invalid: '
            "spec.devices.requests[1].adminAccess: Forbidden: admin access to devices requires the "
            "`resource.kubernetes.io/admin-access: true` label on the containing namespace"
        )
        await send(request(resource, body), plugin(**{LABEL: "true"}))
    await send(request(RESOURCE_CLAIMS, named("c", "shop", spec=asking(False))), plugin())


async def test_an_allocation_with_admin_access_needs_the_label_too() -> None:
    def allocated(**fields: Any) -> Object:
        result = {"request": "admin", "driver": "d", "pool": "p", "device": "0", **fields}
        return named("c", "shop", status={"allocation": {"devices": {"results": [result]}}})

    before, after = named("c", "shop"), allocated(adminAccess=True)
    with pytest.raises(ApiError, match=r"status\.allocation\.devices\.results\[0\]\.adminAccess: Forbidden"):
        await send(request(RESOURCE_CLAIMS, after, old=before, subresource="status"), plugin())
    await send(request(RESOURCE_CLAIMS, after, old=after, subresource="status"), plugin())
    await send(request(RESOURCE_CLAIMS, allocated(), old=before, subresource="status"), plugin())


# Status -------------------------------------------------------------------------------------------------------------

DRIVER = UserInfo("system:serviceaccount:kube-system:driver", extra={"authentication.kubernetes.io/node-name": ("a",)})


class Rights:
    """Verb and subresource that are allowed, with the name where one is asked for."""

    def __init__(self, *allowed: str) -> None:
        self._allowed = allowed

    def authorize(self, attributes: Attributes) -> Decision:
        asked = f"{attributes.verb} {attributes.subresource} {attributes.name}".strip()
        return Decision(asked in self._allowed)


def held(on: str = "a", **status: Any) -> Object:
    field = {"key": "metadata.name", "operator": "In", "values": [on]}
    allocation = {"devices": {"results": []}, "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [field]}]}}
    return named("c", "shop", status={"allocation": allocation, **status})


async def test_allocations_are_for_those_who_may_bind() -> None:
    write = request(RESOURCE_CLAIMS, held(), old=named("c", "shop"), subresource="status")
    with pytest.raises(ApiError) as caught:
        await send(write, DeviceStatus(Rights()))
    assert caught.value.message == (
        'ResourceClaim.resource.k8s.io "c" is invalid: status.allocation: Forbidden: changing status.allocation or '
        'status.reservedFor requires resource="resourceclaims/binding", verb="update" permission: '
        'resourceclaims.resource.k8s.io is forbidden: User "alice" cannot update resource "resourceclaims/binding" in '
        'API group "resource.k8s.io" at the cluster scope'
    )
    await send(write, DeviceStatus(Rights("patch binding")))


@pytest.mark.parametrize(
    ("right", "on", "allowed"),
    [
        ("associated-node:update driver d.example.com", "a", True),
        ("associated-node:update driver d.example.com", "b", False),
        ("arbitrary-node:patch driver d.example.com", "b", True),
        ("arbitrary-node:patch driver other.example.com", "b", False),
        ("update binding", "a", False),
    ],
)
async def test_drivers_write_of_their_own_devices(right: str, on: str, allowed: bool) -> None:
    entry = {"driver": "d.example.com", "pool": "p", "device": "0"}
    write = request(RESOURCE_CLAIMS, held(on, devices=[entry]), old=held(on), subresource="status", user=DRIVER)
    plugin = DeviceStatus(Rights(right))
    if allowed:
        await send(write, plugin)
    else:
        with pytest.raises(ApiError, match=r"status\.devices: Forbidden: changing status\.devices requires"):
            await send(write, plugin)
    unchanged = request(RESOURCE_CLAIMS, held(devices=[entry]), old=held(devices=[entry]), subresource="status")
    await send(unchanged, DeviceStatus(Rights()))
