"""CREATE, UPDATE, PATCH and server-side apply."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from tests.unit.api.harness import ADMIN, Api, api_server, config_map, pod
from twinplane.controlplane.admission.contract import AdmissionRequest
from twinplane.controlplane.api.inprocess import InProcessClient
from twinplane.kubeclient.errors import ApiError, forbidden
from twinplane.kubeclient.resources import CONFIG_MAPS, DEPLOYMENTS, LEASES, PODS

MAPS = "/api/v1/namespaces/default/configmaps"
APPLY = {"content-type": "application/apply-patch+yaml"}


def deployment(name: str = "web", image: str = "nginx", replicas: int = 1) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": image}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }


async def test_create_sets_what_only_the_server_knows() -> None:
    async with api_server() as api:
        body = config_map("a", {"x": "1"})
        body["metadata"] |= {"uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z", "selfLink": "/x"}
        made = await api.json("POST", MAPS, body, expect=201)
        metadata = made["metadata"]
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", metadata["uid"])
        assert metadata["namespace"] == "default"
        assert not metadata["creationTimestamp"].startswith("2001")
        assert "selfLink" not in metadata
        assert metadata["managedFields"][0]["manager"] == "tests"
        assert made == await api.json("GET", f"{MAPS}/a")


async def test_generated_names() -> None:
    async with api_server() as api:
        names = {(await api.client.create(PODS, pod(), "default"))["metadata"]["name"] for _ in range(5)}
        assert len(names) == 5
        assert all(re.fullmatch(r"pod-[bcdfghjklmnpqrstvwxz2456789]{5}", name) for name in names)


async def test_create_refusals() -> None:
    async with api_server() as api:
        await api.client.create(CONFIG_MAPS, config_map("a"), "default")
        exists = (409, "AlreadyExists", 'configmaps "a" already exists')
        assert await api.refused("POST", MAPS, config_map("a")) == exists
        other = config_map("b")
        other["metadata"]["namespace"] = "other"
        differs = "the namespace of the provided object does not match the namespace sent on the request"
        assert await api.refused("POST", MAPS, other) == (400, "BadRequest", differs)
        versioned = config_map("b")
        versioned["metadata"]["resourceVersion"] = "5"
        code, _, message = await api.refused("POST", MAPS, versioned)
        assert (code, message) == (400, "resourceVersion should not be set on objects to be created")
        code, reason, message = await api.refused("POST", MAPS, {"metadata": {}})
        assert (code, reason) == (422, "Invalid")
        assert "metadata.name: Required value: name or generateName is required" in message
        assert (await api.refused("POST", "/api/v1/configmaps", config_map("c")))[0] == 405


async def test_dry_run_changes_nothing() -> None:
    async with api_server() as api:
        made = await api.json("POST", f"{MAPS}?dryRun=All", config_map("a"), expect=201)
        assert made["metadata"]["uid"]
        assert "resourceVersion" not in made["metadata"]
        await api.client.create(CONFIG_MAPS, config_map("b"), "default")
        before = api.runtime.store.revision
        assert (await api.json("PUT", f"{MAPS}/b?dryRun=All", config_map("b", {"x": "y"})))["data"] == {"x": "y"}
        await api.json("DELETE", f"{MAPS}/b?dryRun=All")
        assert (await api.refused("POST", f"{MAPS}?dryRun=All", config_map("b")))[0] == 409
        assert api.runtime.store.revision == before
        code, _, message = await api.refused("POST", f"{MAPS}?dryRun=Some", config_map("c"))
        assert code == 422
        assert message.startswith('CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value')


async def test_update_is_optimistic() -> None:
    async with api_server() as api:
        first = await api.client.create(CONFIG_MAPS, config_map("a"), "default")
        second = await api.client.update(CONFIG_MAPS, {**first, "data": {"x": "1"}})
        code, reason, message = await api.refused("PUT", f"{MAPS}/a", {**first, "data": {"x": "2"}})
        assert (code, reason) == (409, "Conflict")
        assert message == (
            'Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes '
            "to the latest version and try again"
        )
        del second["metadata"]["resourceVersion"]
        assert (await api.client.update(CONFIG_MAPS, {**second, "data": {"x": "3"}}))["data"] == {"x": "3"}


async def test_an_update_without_change_writes_nothing() -> None:
    async with api_server() as api:
        made = await api.client.create(CONFIG_MAPS, config_map("a", {"x": "1"}), "default")
        before = api.runtime.store.revision
        assert await api.client.update(CONFIG_MAPS, made) == made
        assert await api.client.patch(CONFIG_MAPS, "a", {"data": {"x": "1"}}, "default") == made
        assert api.runtime.store.revision == before


async def test_update_keeps_the_identity() -> None:
    async with api_server() as api:
        made = await api.client.create(CONFIG_MAPS, config_map("a"), "default")
        changed = {**made, "metadata": {"name": "a", "namespace": "default", "labels": {"l": "v"}}}
        updated = await api.client.update(CONFIG_MAPS, changed)
        for field in ("uid", "creationTimestamp"):
            assert updated["metadata"][field] == made["metadata"][field]
        wrong = {**made, "metadata": {**made["metadata"], "uid": "other", "resourceVersion": ""}}
        code, reason, message = await api.refused("PUT", f"{MAPS}/a", wrong)
        assert (code, reason) == (409, "Conflict")
        assert f"UID in precondition: other, UID in object meta: {made['metadata']['uid']}" in message


async def test_update_refusals() -> None:
    async with api_server() as api:
        assert await api.refused("PUT", f"{MAPS}/a", config_map("a")) == (404, "NotFound", 'configmaps "a" not found')
        code, _, message = await api.refused("PUT", f"{MAPS}/a", config_map("b"))
        assert (code, message) == (400, "the name of the object (b) does not match the name on the URL (a)")
        code, _, message = await api.refused("PUT", f"{MAPS}/a", {"metadata": {}})
        assert (code, message) == (
            400,
            "the name of the object (a based on URL) was undeterminable: name must be provided",
        )


async def test_some_types_are_created_by_update_and_need_a_revision_afterwards() -> None:
    lease = {"metadata": {"name": "l", "namespace": "default"}, "spec": {"holderIdentity": "me"}}
    path = LEASES.path("default", "l")
    async with api_server() as api:
        made = await api.json("PUT", path, lease, expect=201)
        code, _, message = await api.refused("PUT", path, lease)
        assert code == 422
        assert "metadata.resourceVersion: Invalid value: 0: must be specified for an update" in message
        made["spec"]["holderIdentity"] = "you"
        assert (await api.json("PUT", path, made))["spec"]["holderIdentity"] == "you"


async def test_status_and_spec_are_apart() -> None:
    async with api_server() as api:
        made = await api.client.create(DEPLOYMENTS, deployment(), "default")
        assert made["metadata"]["generation"] == 1
        both = {**made, "status": {"replicas": 3}, "spec": {**made["spec"], "replicas": 5}}
        after = await api.client.update(DEPLOYMENTS, both, subresource="status")
        assert (after["status"]["replicas"], after["spec"]["replicas"], after["metadata"]["generation"]) == (3, 1, 1)
        both["metadata"] = {**after["metadata"]}
        both["status"] = {"replicas": 9}
        after = await api.client.update(DEPLOYMENTS, both)
        assert (after["status"]["replicas"], after["spec"]["replicas"], after["metadata"]["generation"]) == (3, 5, 2)


@pytest.mark.parametrize(
    ("media", "patch", "expected"),
    [
        ("application/merge-patch+json", {"data": {"a": None, "b": "2"}}, {"b": "2"}),
        ("application/json-patch+json", [{"op": "add", "path": "/data/b", "value": "2"}], {"a": "1", "b": "2"}),
        ("application/strategic-merge-patch+json", {"data": {"b": "2"}}, {"a": "1", "b": "2"}),
    ],
)
async def test_patches(media: str, patch: Any, expected: dict[str, str]) -> None:
    async with api_server() as api:
        await api.client.create(CONFIG_MAPS, config_map("m", {"a": "1"}), "default")
        found = await api.json("PATCH", f"{MAPS}/m", patch, headers={"content-type": media})
        assert found["data"] == expected


async def test_strategic_merge_knows_list_keys() -> None:
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "envoy"}]}}}}
    async with api_server() as api:
        await api.client.create(DEPLOYMENTS, deployment(), "default")
        media: Any = "application/strategic-merge-patch+json"
        found = await api.client.patch(DEPLOYMENTS, "web", patch, "default", patch_type=media)
        names = [container["name"] for container in found["spec"]["template"]["spec"]["containers"]]
        assert sorted(names) == ["main", "side"]


async def test_patch_refusals() -> None:
    merge = {"content-type": "application/merge-patch+json"}
    async with api_server() as api:
        await api.client.create(CONFIG_MAPS, config_map("m"), "default")
        target = f"{MAPS}/m"
        assert (await api.refused("PATCH", f"{MAPS}/x", {}, headers=merge))[0] == 404
        assert (await api.refused("PATCH", target, {}))[0] == 415
        assert (await api.refused("PATCH", target, b"{", headers=merge))[0] == 400
        assert (await api.refused("PATCH", target, [1], headers=merge))[0] == 400
        assert (await api.refused("PATCH", target, {"metadata": {"name": "n"}}, headers=merge))[0] == 400
        assert (await api.refused("PATCH", target, {"metadata": None}, headers=merge))[0] == 400
        assert (await api.refused("PATCH", target, {"kind": "Pod"}, headers=merge))[0] == 400
        assert (await api.refused("PATCH", target, {"data": {"a": 1}}, headers=merge))[0] == 422
        assert (await api.refused("PATCH", f"{target}?force=true", {}, headers=merge))[0] == 422
        stale = {"metadata": {"resourceVersion": "1"}, "data": {"a": "1"}}
        assert (await api.refused("PATCH", target, stale, headers=merge))[:2] == (409, "Conflict")


async def test_patches_without_a_revision_all_succeed() -> None:
    async with api_server() as api:
        await api.client.create(CONFIG_MAPS, config_map("m"), "default")
        patches = [{"data": {f"key-{number}": "x"}} for number in range(20)]
        await asyncio.gather(*(api.client.patch(CONFIG_MAPS, "m", patch, "default") for patch in patches))
        assert len((await api.client.get(CONFIG_MAPS, "m", "default"))["data"]) == 20


async def apply(api: Api, body: Any, manager: str, *, force: bool = False, expect: int = 200) -> Any:
    target = f"{MAPS}/{body['metadata']['name']}?fieldManager={manager}&force={str(force).lower()}"
    return await api.json("PATCH", target, body, headers=APPLY, expect=expect)


async def test_apply_creates_merges_and_gives_up() -> None:
    async with api_server() as api:
        made = await apply(api, config_map("m", {"a": "1", "b": "2"}), "one", expect=201)
        assert made["metadata"]["managedFields"][0]["operation"] == "Apply"
        found = await apply(api, config_map("m", {"c": "3"}), "two")
        assert found["data"] == {"a": "1", "b": "2", "c": "3"}
        found = await apply(api, config_map("m", {"a": "1"}), "one")
        assert found["data"] == {"a": "1", "c": "3"}
        before = api.runtime.store.revision
        assert await apply(api, config_map("m", {"a": "1"}), "one") == found
        assert api.runtime.store.revision == before


async def test_apply_conflicts_unless_forced() -> None:
    async with api_server() as api:
        await apply(api, config_map("m", {"a": "1"}), "one", expect=201)
        target = f"{MAPS}/m?fieldManager=two"
        code, reason, message = await api.refused("PATCH", target, config_map("m", {"a": "2"}), headers=APPLY)
        assert (code, reason) == (409, "Conflict")
        assert message == 'Apply failed with 1 conflict: conflict with "one": .data.a'
        assert (await apply(api, config_map("m", {"a": "2"}), "two", force=True))["data"] == {"a": "2"}


async def test_apply_refusals() -> None:
    async with api_server() as api:
        code, _, message = await api.refused("PATCH", f"{MAPS}/m?fieldManager=x", b"a: [", headers=APPLY)
        assert code == 400
        assert message.startswith("error decoding YAML: ")
        no_manager = await api.send("PATCH", f"{MAPS}/m", config_map("m"), headers={**APPLY, "user-agent": ""})
        assert no_manager.status == 422
        assert b"fieldManager: Required value: is required for apply patch" in no_manager.body


YAML_TWICE = b"""
apiVersion: v1
kind: ConfigMap
metadata: {name: m}
data:
  a: one
  a: two
"""


async def test_apply_is_strict_about_keys_and_fields() -> None:
    async with api_server() as api:
        target = f"{MAPS}/m?fieldManager=x"
        code, _, message = await api.refused("PATCH", f"{target}&fieldValidation=Strict", YAML_TWICE, headers=APPLY)
        assert code == 400
        assert message == (
            "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n"
            '  line 7: key "a" already set in map'
        )
        warned = await api.send("PATCH", f"{target}&fieldValidation=Warn", YAML_TWICE, headers=APPLY)
        assert warned.status == 201
        assert 'line 7: key \\"a\\" already set in map' in warned.headers["warning"]
        unknown = config_map("m") | {"more": 1}
        for validation in ("Strict", "Ignore"):
            where = f"{target}&fieldValidation={validation}"
            code, _, message = await api.refused("PATCH", where, unknown, headers=APPLY)
            assert code == 400
            assert message.endswith("Kind=ConfigMap): .more: field not declared in schema")


class Recording:
    """An admission plugin that changes, warns, refuses, and remembers."""

    name = "Recording"

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str, str]] = []

    def handles(self, request: AdmissionRequest) -> bool:
        return request.resource.plural in ("configmaps", "pods")

    async def admit(self, request: AdmissionRequest) -> None:
        self.seen.append((request.operation, request.resource.plural, request.subresource, request.name))
        if request.object is not None and request.object.get("data", {}).get("refuse"):
            raise forbidden("", "configmaps", request.name, "no")
        if request.object is not None and "data" in request.object:
            request.object["data"]["admitted"] = "yes"
            request.warnings.append('mind the "gap"')

    async def validate(self, request: AdmissionRequest) -> None:
        if request.object is not None and "data" in request.object:
            assert request.object["data"]["admitted"] == "yes"


async def test_admission_sees_changes_and_refuses() -> None:
    plugin = Recording()
    async with api_server(admission=[plugin]) as api:
        response = await api.send("POST", MAPS, config_map("a", {"x": "1"}))
        assert response.headers["warning"] == '299 - "mind the \\"gap\\""'
        assert b'"admitted":"yes"' in response.body
        refused = await api.refused("POST", MAPS, config_map("b", {"refuse": "1"}))
        assert refused == (403, "Forbidden", 'configmaps "b" is forbidden: no')
        await api.client.patch(CONFIG_MAPS, "a", {"data": {"x": "2"}}, "default")
        await api.client.delete(CONFIG_MAPS, "a", "default")
        assert [operation for operation, *_ in plugin.seen] == ["CREATE", "CREATE", "UPDATE", "DELETE"]


async def test_field_validation() -> None:
    body = deployment()
    body["spec"]["replicaz"] = 2
    target = "/apis/apps/v1/namespaces/default/deployments"
    async with api_server() as api:
        code, _, message = await api.refused("POST", f"{target}?fieldValidation=Strict", body)
        assert code == 400
        assert message == (
            'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: '
            'unknown field "spec.replicaz"'
        )
        response = await api.send("POST", f"{target}?fieldValidation=Warn&dryRun=All", body)
        assert response.status == 201
        assert response.headers["warning"] == '299 - "unknown field \\"spec.replicaz\\""'
        response = await api.send("POST", f"{target}?fieldValidation=Ignore", body)
        assert "warning" not in response.headers
        twice = b'{"metadata":{"name":"m"},"data":{"a":"1","a":"2"}}'
        code, _, message = await api.refused("POST", f"{MAPS}?fieldValidation=Strict", twice)
        assert code == 400
        assert message.endswith('strict decoding error: duplicate field "data.a"')
        assert (await api.refused("POST", f"{MAPS}?fieldValidation=Some", config_map("x")))[0] == 422
        container = b'{"name":"n","image":"i","unknownNested":"v","imagePullPolicy":"Always","imagePullPolicy":"Never"}'
        messy = (
            b'{"metadata":{"name":"a","name":"b","unknownMeta":"v"},"spec":{"unknown1":"v","unknownDupe":"v",'
            b'"unknownDupe":"w","paused":true,"paused":false,"template":{"spec":{"containers":[%b]}}}}' % container
        )
        _, _, message = await api.refused("POST", f"{target}?fieldValidation=Strict", messy)
        assert message.partition("strict decoding error: ")[2] == (
            'duplicate field "metadata.name", unknown field "metadata.unknownMeta", unknown field "spec.unknown1", '
            'unknown field "spec.unknownDupe", duplicate field "spec.paused", unknown field '
            '"spec.template.spec.containers[0].unknownNested", duplicate field '
            '"spec.template.spec.containers[0].imagePullPolicy"'
        )


async def warned(api: Api, method: str, target: str, body: bytes, media: str, *, status: int = 200) -> str:
    response = await api.send(method, target, body, headers={"content-type": media})
    assert response.status == status, response.body
    return response.headers.get("warning", "")


async def test_keys_that_come_twice_are_warned_of_whatever_they_come_in() -> None:
    async with api_server() as api:
        twice = b'{"metadata":{"name":"m"},"data":{"a":"1","a":"2"}}'
        expected = '299 - "duplicate field \\"data.a\\""'
        assert await warned(api, "POST", MAPS, twice, "application/json", status=201) == expected
        assert await warned(api, "PUT", f"{MAPS}/m", twice, "application/json") == expected
        spaced = b'{"data" : {"a" : "1", "a" : "2"}}'
        patches = ("application/merge-patch+json", "application/strategic-merge-patch+json")
        for media in patches:
            assert await warned(api, "PATCH", f"{MAPS}/m", spaced, media) == expected
            assert await warned(api, "PATCH", f"{MAPS}/m?fieldValidation=Ignore", spaced, media) == ""
        operations = b'[{"op":"add","path":"/data/b","path":"/data/c","foo":"1","value":"x"}]'
        assert await warned(api, "PATCH", f"{MAPS}/m", operations, "application/json-patch+json") == (
            '299 - "json patch duplicate field \\"[0].path\\"", 299 - "json patch unknown field \\"[0].foo\\""'
        )
        yaml = b"metadata:\n  name: y\ndata:\n  a: '1'\n  a: '2'\n"
        in_yaml = await warned(api, "POST", MAPS, yaml, "application/yaml", status=201)
        assert in_yaml == '299 - "line 5: key \\"a\\" already set in map"'
        _, _, message = await api.refused(
            "POST", f"{MAPS}?fieldValidation=Strict", yaml, headers={"content-type": "application/yaml"}
        )
        assert message.endswith('strict decoding error: yaml: unmarshal errors:\n  line 5: key "a" already set in map')
        applied = await warned(
            api,
            "PATCH",
            f"{MAPS}/y?fieldManager=me&force=true",
            b"apiVersion: v1\nkind: ConfigMap\n" + yaml,
            APPLY["content-type"],
        )
        assert applied == '299 - "line 7: key \\"a\\" already set in map"'


async def test_what_a_patch_makes_is_shown_where_it_does_not_fit() -> None:
    async with api_server() as api:
        await api.json("POST", MAPS, config_map("m", {"a": "1"}), expect=201)
        target = f"{MAPS}/m?fieldValidation=Strict"
        merge = {"content-type": "application/merge-patch+json"}
        code, reason, message = await api.refused("PATCH", target, {"more": 1}, headers=merge)
        assert (code, reason) == (422, "Invalid")
        assert message.startswith(' "" is invalid: patch: Invalid value: "{\\"kind\\":\\"ConfigMap\\",')
        assert message.endswith(': strict decoding error: unknown field "more"')
        strategic = {"content-type": "application/strategic-merge-patch+json"}
        _, _, message = await api.refused("PATCH", target, {"more": None, "data": {"a": 7}}, headers=strategic)
        assert message.startswith(' "" is invalid: patch: Invalid value: "map[data:map[a:7] more:<nil>]": json: cannot')


async def test_readers_see_what_was_answered_and_share_it() -> None:
    from twinplane.controlplane.api.objects.reader import CacheReader

    async with api_server() as api:
        reader = CacheReader(api.runtime.cache, api.runtime.registry)
        before = reader.revision(CONFIG_MAPS)
        await api.client.create(CONFIG_MAPS, config_map("a"), "default")
        assert reader.revision(CONFIG_MAPS) > before
        found = reader.get(CONFIG_MAPS, "a", "default")
        assert found is not None
        assert found is reader.get(CONFIG_MAPS, "a", "default")
        assert reader.list(CONFIG_MAPS) == [found] == reader.list(CONFIG_MAPS, "default")
        assert reader.list(CONFIG_MAPS, "other") == []
        assert reader.get(CONFIG_MAPS, "b", "default") is None


async def test_two_clients_in_process() -> None:
    async with api_server() as api:
        other = InProcessClient(api.server, ADMIN, "other/1.0")
        made = await other.create(CONFIG_MAPS, config_map("a", {"x": "1"}), "default")
        assert made["metadata"]["managedFields"][0]["manager"] == "other"
        with pytest.raises(ApiError):
            await other.create(CONFIG_MAPS, config_map("a"), "default")
