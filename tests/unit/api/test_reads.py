"""GET and LIST: selectors, pages, revisions, and the ways of showing objects."""

from __future__ import annotations

import orjson
import pytest

from tests.unit.api.harness import Api, api_server, config_map, pod
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import CONFIG_MAPS, PODS
from twinplane.testing.virtual_time import VirtualClock, virtual_time

MAPS = "/api/v1/namespaces/default/configmaps"
TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}


async def filled(api: Api, count: int) -> None:
    for number in range(count):
        await api.client.create(CONFIG_MAPS, config_map(f"m-{number:02}", even=str(number % 2 == 0)), "default")


def names(found: dict[str, list[dict[str, dict[str, str]]]]) -> list[str]:
    return [item["metadata"]["name"] for item in found["items"]]


async def test_get_and_not_found() -> None:
    async with api_server() as api:
        await filled(api, 1)
        assert (await api.json("GET", f"{MAPS}/m-00"))["metadata"]["name"] == "m-00"
        assert await api.refused("GET", f"{MAPS}/x") == (404, "NotFound", 'configmaps "x" not found')


async def test_lists_are_in_key_order_with_the_revision_of_the_server() -> None:
    async with api_server() as api:
        await filled(api, 3)
        found = await api.json("GET", MAPS)
        assert found["kind"] == "ConfigMapList"
        assert names(found) == ["m-00", "m-01", "m-02"]
        assert found["metadata"] == {"resourceVersion": str(api.runtime.cache.revision)}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("labelSelector=even%3DTrue", ["m-00", "m-02"]),
        ("labelSelector=even!%3DTrue", ["m-01"]),
        ("labelSelector=even%20in%20(False)", ["m-01"]),
        ("fieldSelector=metadata.name%3Dm-01", ["m-01"]),
        ("fieldSelector=metadata.name!%3Dm-01", ["m-00", "m-02"]),
        ("fieldSelector=metadata.namespace%3Dother", []),
        ("fieldSelector=metadata.name%3Dm-01&labelSelector=even%3DTrue", []),
    ],
)
async def test_selectors(selector: str, expected: list[str]) -> None:
    async with api_server() as api:
        await filled(api, 3)
        assert names(await api.json("GET", f"{MAPS}?{selector}")) == expected
        assert names(await api.json("GET", f"/api/v1/configmaps?{selector}")) == expected


async def test_pods_by_node() -> None:
    async with api_server() as api:
        await api.client.create(PODS, pod("a", node="n1"), "default")
        await api.client.create(PODS, pod("b", node="n2"), "default")
        await api.client.create(PODS, pod("c"), "default")
        for selector, expected in (
            ("spec.nodeName=n1", ["a"]),
            ("spec.nodeName=", ["c"]),
            ("spec.nodeName!=n1", ["b", "c"]),
        ):
            found = await api.client.list(PODS, field_selector=selector)
            assert [item["metadata"]["name"] for item in found.items] == expected, selector
        await api.client.delete(PODS, "a", "default", grace_period_seconds=0)
        assert not (await api.client.list(PODS, field_selector="spec.nodeName=n1")).items


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            "fieldSelector=spec.foo%3Da",
            '"spec.foo" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        ("limit=x", 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("continue=%25", "continue key is not valid: illegal base64 data at input byte 0"),
        ("continue=abcde", "continue key is not valid: illegal base64 data at input byte 4"),
        ("continue=e30", "continue key is not valid: server does not recognize this encoded version "),
        ("continue=e2E", "continue key is not valid: invalid character 'a' looking for beginning of "),
        ("resourceVersion=x", 'Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax'),
    ],
)
async def test_bad_parameters_are_bad_requests(query: str, message: str) -> None:
    async with api_server() as api:
        code, reason, text = await api.refused("GET", f"{MAPS}?{query}")
        assert (code, reason) == (400, "BadRequest")
        assert message in text


async def test_a_negative_limit_is_none() -> None:
    async with api_server() as api:
        for name in ("a", "b"):
            await api.client.create(CONFIG_MAPS, config_map(name), "default")
        listed = await api.json("GET", f"{MAPS}?limit=-1")
        assert [item["metadata"]["name"] for item in listed["items"]] == ["a", "b"]
        assert "continue" not in listed["metadata"]


@pytest.mark.parametrize(
    "query",
    [
        "resourceVersionMatch=Exact",
        "resourceVersionMatch=Other&resourceVersion=1",
        "resourceVersionMatch=Exact&resourceVersion=0",
        "sendInitialEvents=true",
        "watch=1&resourceVersionMatch=NotOlderThan",
        "watch=1&sendInitialEvents=true",
    ],
)
async def test_bad_combinations_are_invalid(query: str) -> None:
    async with api_server() as api:
        code, reason, text = await api.refused("GET", f"{MAPS}?{query}")
        assert (code, reason) == (422, "Invalid")
        assert text.startswith('ListOptions.meta.k8s.io "" is invalid: ')


async def test_pages_stay_at_the_revision_of_the_first() -> None:
    async with api_server() as api:
        await filled(api, 5)
        first = await api.json("GET", f"{MAPS}?limit=2")
        assert names(first) == ["m-00", "m-01"]
        assert first["metadata"]["remainingItemCount"] == 3
        await api.client.delete(CONFIG_MAPS, "m-02", "default")
        await api.client.create(CONFIG_MAPS, config_map("m-015"), "default")
        await api.client.patch(CONFIG_MAPS, "m-03", {"data": {"new": "yes"}}, "default")
        second = await api.json("GET", f"{MAPS}?limit=2&continue={first['metadata']['continue']}")
        assert names(second) == ["m-02", "m-03"]
        assert "new" not in (second["items"][1].get("data") or {})
        assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        third = await api.json("GET", f"{MAPS}?limit=2&continue={second['metadata']['continue']}")
        assert names(third) == ["m-04"]
        assert "continue" not in third["metadata"]


async def test_an_old_page_expires_with_a_token_to_go_on() -> None:
    async with api_server() as api:
        await filled(api, 4)
        first = await api.json("GET", f"{MAPS}?limit=2")
        await filled_again(api)
        await api.runtime.store.compact(api.runtime.store.revision)
        response = await api.send("GET", f"{MAPS}?limit=2&continue={first['metadata']['continue']}")
        assert response.status == 410
        import orjson

        status = orjson.loads(response.body)
        assert status["reason"] == "Expired"
        rest = await api.json("GET", f"{MAPS}?continue={status['metadata']['continue']}")
        assert names(rest) == ["m-02", "m-03"]


async def filled_again(api: Api) -> None:
    await api.client.patch(CONFIG_MAPS, "m-03", {"data": {"new": "yes"}}, "default")


async def test_selected_pages_do_not_count_what_remains() -> None:
    async with api_server() as api:
        await filled(api, 6)
        found = await api.json("GET", f"{MAPS}?limit=1&labelSelector=even%3DTrue")
        assert "remainingItemCount" not in found["metadata"]
        rest = await api.json("GET", f"{MAPS}?labelSelector=even%3DTrue&continue={found['metadata']['continue']}")
        assert names(rest) == ["m-02", "m-04"]


async def test_exact_and_minimal_revisions() -> None:
    async with api_server() as api:
        await filled(api, 2)
        then = (await api.json("GET", MAPS))["metadata"]["resourceVersion"]
        await api.client.delete(CONFIG_MAPS, "m-00", "default")
        exact = await api.json("GET", f"{MAPS}?resourceVersion={then}&resourceVersionMatch=Exact")
        assert names(exact) == ["m-00", "m-01"]
        newer = await api.json("GET", f"{MAPS}?resourceVersion={then}&resourceVersionMatch=NotOlderThan")
        assert names(newer) == ["m-01"]


@virtual_time
async def test_a_revision_nobody_has_yet_times_out(clock: VirtualClock) -> None:
    async with api_server(clock=clock) as api:
        code, reason, message = await api.refused("GET", f"{MAPS}?resourceVersion=999")
        assert (code, reason) == (504, "Timeout")
        assert message == f"Too large resource version: 999, current: {api.runtime.cache.revision}"


async def test_tables() -> None:
    async with api_server() as api:
        await api.client.create(PODS, pod("a"), "default")
        found = await api.json("GET", "/api/v1/namespaces/default/pods", headers=TABLE)
        assert (found["kind"], found["apiVersion"]) == ("Table", "meta.k8s.io/v1")
        assert found["metadata"]["resourceVersion"]
        assert [column["name"] for column in found["columnDefinitions"]][:3] == ["Name", "Ready", "Status"]
        assert found["rows"][0]["cells"][0] == "a"
        assert found["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
        one = await api.json("GET", "/api/v1/namespaces/default/pods/a?includeObject=None", headers=TABLE)
        assert "object" not in one["rows"][0] or one["rows"][0]["object"] is None


async def test_metadata_only() -> None:
    async with api_server() as api:
        await filled(api, 1)
        kind = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
        found = await api.json("GET", MAPS, headers={"accept": kind})
        assert found["kind"] == "PartialObjectMetadataList"
        assert set(found["items"][0]) == {"kind", "apiVersion", "metadata"}
        kind = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
        one = await api.json("GET", f"{MAPS}/m-00", headers={"accept": kind})
        assert set(one) == {"kind", "apiVersion", "metadata"}


async def test_yaml_and_what_cannot_be_accepted() -> None:
    async with api_server() as api:
        await filled(api, 1)
        response = await api.send("GET", f"{MAPS}/m-00", headers={"accept": "application/yaml"})
        assert response.content_type == "application/yaml"
        assert b"kind: ConfigMap" in response.body
        code, reason, _ = await api.refused("GET", f"{MAPS}/m-00", headers={"accept": "text/html"})
        assert (code, reason) == (406, "NotAcceptable")
        accept = {"accept": "application/vnd.kubernetes.protobuf,application/json"}
        assert (await api.json("GET", f"{MAPS}/m-00", headers=accept))["kind"] == "ConfigMap"


async def test_events_are_served_in_two_groups() -> None:
    event = {
        "metadata": {"name": "e", "namespace": "default"},
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reason": "Started",
        "action": "Start",
        "type": "Normal",
        "note": "it runs",
        "reportingController": "kubelet",
        "reportingInstance": "n1",
        "eventTime": "2026-11-23T14:00:00.000000Z",
    }
    async with api_server() as api:
        await api.json("POST", "/apis/events.k8s.io/v1/namespaces/default/events", event, expect=201)
        core = await api.json("GET", "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dp")
        assert core["items"][0]["message"] == "it runs"
        path = "/apis/events.k8s.io/v1/namespaces/default/events"
        new = await api.json("GET", f"{path}?fieldSelector=regarding.name%3Dp")
        assert new["items"][0]["note"] == "it runs"
        assert new["items"][0]["apiVersion"] == "events.k8s.io/v1"
        assert (await api.json("GET", f"{path}/e"))["regarding"]["name"] == "p"


async def test_in_process_errors_are_raised() -> None:
    async with api_server() as api:
        with pytest.raises(ApiError) as caught:
            await api.client.get(PODS, "x", "default")
        assert (caught.value.code, caught.value.reason) == (404, "NotFound")


async def test_a_review_is_no_table() -> None:
    review = {"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}
    target = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    async with api_server() as api:
        code, reason, _ = await api.refused("POST", target, review, headers={"accept": table})
        assert (code, reason) == (406, "NotAcceptable")
        both = await api.send("POST", target, review, headers={"accept": f"{table},application/json"})
        assert (both.status, orjson.loads(both.body)["kind"]) == (201, "SelfSubjectAccessReview")


async def test_a_token_expires_even_where_nothing_has_changed() -> None:
    async with api_server() as api:
        for name in ("a", "b", "c"):
            await api.send("POST", MAPS, config_map(name))
        first = await api.json("GET", f"{MAPS}?limit=1")
        await api.send("POST", "/api/v1/namespaces", {"metadata": {"name": "elsewhere"}})
        assert (await api.send("GET", f"{MAPS}?limit=1&continue={first['metadata']['continue']}")).status == 200
        await api.runtime.store.compact(api.runtime.store.revision)
        response = await api.send("GET", f"{MAPS}?limit=1&continue={first['metadata']['continue']}")
        status = orjson.loads(response.body)
        assert (status["code"], status["reason"]) == (410, "Expired")
        rest = await api.json("GET", f"{MAPS}?limit=1&continue={status['metadata']['continue']}")
        assert [item["metadata"]["name"] for item in rest["items"]] == ["b"]
