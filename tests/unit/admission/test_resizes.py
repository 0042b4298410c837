"""LimitRanger and ResourceQuota of a pod that is resized in place, and of no other subresource."""

from __future__ import annotations

import pytest

from tests.unit.admission.requests import request, send
from tests.unit.admission.test_quotas_and_limits import World, container, pod, quota, ranger, refusal
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import PODS

SMALL, LARGE = pod("a", container({"cpu": "100m"})), pod("a", container({"cpu": "600m"}))
LEAVING = {**SMALL, "metadata": {**SMALL["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}


@pytest.mark.parametrize(
    ("old", "subresource", "refused"),
    [(SMALL, "resize", True), (SMALL, "status", False), (SMALL, "", False), (LEAVING, "resize", False)],
)
async def test_bounds_hold_for_a_resize(old: Object, subresource: str, refused: bool) -> None:
    plugin = ranger({"type": "Container", "max": {"cpu": "500m"}})
    sent = request(PODS, LARGE, operation="UPDATE", old=old, subresource=subresource)
    if refused:
        message = await refusal(send(sent, plugin))
        assert message.startswith('pods "a" is forbidden: maximum cpu usage per Container is 500m')
    else:
        await send(sent, plugin)


@pytest.mark.parametrize(
    ("kind", "limits", "told"),
    [
        ("Container", ["750Mi"], "750Mi"),
        ("Container", ["600M"], "600M"),
        ("Pod", ["400Mi", "400Mi"], "800Mi"),
        ("Pod", ["400M", "400Mi"], "819430400"),
    ],
)
async def test_amounts_are_told_as_they_were_written(kind: str, limits: list[str], told: str) -> None:
    large = pod("a", *(container({}, {"memory": text}) for text in limits))
    sent = request(PODS, large, operation="UPDATE", old=SMALL, subresource="resize")
    message = await refusal(send(sent, ranger({"type": kind, "max": {"memory": "500Mi"}})))
    assert message == f'pods "a" is forbidden: maximum memory usage per {kind} is 500Mi, but limit is {told}'


async def test_a_resize_is_charged_with_what_it_adds() -> None:
    world = World(quota({"requests.cpu": "1", "pods": "5"}, {"requests.cpu": "700m", "pods": "2"}))
    grown = pod("a", container({"cpu": "400m"}))
    await world.send(PODS, grown, operation="UPDATE", old=SMALL, subresource="resize")
    assert world.used() == {"requests.cpu": "1", "pods": "2"}
    await world.send(PODS, LARGE, operation="UPDATE", old=SMALL, subresource="status")
    assert world.used()["requests.cpu"] == "1"
