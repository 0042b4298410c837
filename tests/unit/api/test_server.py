"""The chain around the verbs: who, may they, what is refused and how, and the paths that are not resources."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.api.harness import ADMIN, TOKEN, Api, PolicyAuthorizer, api_server, config_map, pod
from tests.unit.protobuf.encoding import chunk, envelope
from twinplane.controlplane.auth.contract import Attributes, UserInfo
from twinplane.controlplane.store.contract import StorageFull
from twinplane.kubeclient.resources import CONFIG_MAPS

MAPS = "/api/v1/namespaces/default/configmaps"
EVE = UserInfo("eve", ("system:authenticated",))
EVE_CANNOT, IN_A = 'User "eve" cannot', 'in the namespace "a"'


async def test_tokens() -> None:
    async with api_server() as api:
        assert (await api.json("GET", MAPS, user=None, token=TOKEN))["kind"] == "ConfigMapList"
        assert await api.refused("GET", MAPS, user=None, token="wrong") == (401, "Unauthorized", "Unauthorized")
        code, reason, message = await api.refused("GET", MAPS, user=None)
        assert (code, reason) == (403, "Forbidden")
        assert message == (
            'configmaps is forbidden: User "system:anonymous" cannot list resource "configmaps" in API group "" '
            'in the namespace "default"'
        )


async def test_successful_authentications_are_remembered_for_a_while() -> None:
    times = [0.0]
    async with api_server(monotonic=lambda: times[0]) as api:
        authenticator: Any = api.runtime.authenticator
        for _ in range(3):
            await api.json("GET", MAPS, user=None, token=TOKEN)
        assert authenticator.asked == 1
        times[0] = 11.0
        await api.json("GET", MAPS, user=None, token=TOKEN)
        assert authenticator.asked == 2


@pytest.mark.parametrize(
    ("method", "target", "message"),
    [
        (
            "GET",
            "/api/v1/nodes",
            'nodes is forbidden: User "eve" cannot list resource "nodes" in API group "" at the cluster scope',
        ),
        (
            "DELETE",
            "/apis/apps/v1/namespaces/a/deployments/w",
            f'deployments.apps "w" is forbidden: {EVE_CANNOT} delete resource "deployments" in API group "apps" {IN_A}',
        ),
        (
            "PUT",
            "/api/v1/namespaces/a/pods/p/status",
            f'pods "p" is forbidden: {EVE_CANNOT} update resource "pods/status" in API group "" {IN_A}',
        ),
        ("GET", "/metrics", 'forbidden: User "eve" cannot get path "/metrics"'),
    ],
)
async def test_forbidden_is_worded_as_upstream_does(method: str, target: str, message: str) -> None:
    async with api_server() as api:
        assert await api.refused(method, target, user=EVE) == (403, "Forbidden", message)


async def test_impersonation() -> None:
    def policy(attributes: Attributes) -> bool:
        return attributes.user.name == "admin" or "readers" in attributes.user.groups

    authorizer = PolicyAuthorizer(policy)
    who = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    async with api_server(authorizer=authorizer) as api:
        headers = {
            "impersonate-user": "bob",
            "impersonate-group": "readers\nwriters",
            "impersonate-uid": "7",
            "impersonate-extra-scope%2fa": "x",
        }
        found = await api.json("POST", who, {}, headers=headers, expect=201)
        assert found["status"]["userInfo"] == {
            "username": "bob",
            "uid": "7",
            "groups": ["readers", "writers", "system:authenticated"],
            "extra": {"scope/a": ["x"]},
        }
        asked = {(seen.resource, seen.subresource, seen.name) for seen in authorizer.seen if seen.verb == "impersonate"}
        assert asked == {
            ("users", "", "bob"),
            ("groups", "", "readers"),
            ("groups", "", "writers"),
            ("uids", "", "7"),
            ("userextras", "scope/a", "x"),
        }
        code, _, message = await api.refused("GET", MAPS, headers={"impersonate-user": "bob"}, user=EVE)
        assert code == 403
        assert message == (
            'users "bob" is forbidden: User "eve" cannot impersonate resource "users" in API group "" '
            "at the cluster scope"
        )
        assert (await api.refused("GET", MAPS, headers={"impersonate-group": "x"}))[0] == 400
        account = {"impersonate-user": "system:serviceaccount:default:robot"}
        code, _, message = await api.refused("GET", MAPS, headers=account)
        assert (code, 'User "system:serviceaccount:default:robot" cannot list' in message) == (403, True)


@pytest.mark.parametrize(
    ("method", "target", "code"),
    [
        ("GET", "/api/v1/unknown", 404),
        ("GET", "/apis/none.example.com/v1/things", 404),
        ("GET", "/apis/apps/v9/deployments", 404),
        ("GET", "/nonsense", 404),
        ("GET", "/apis/none.example.com", 404),
        ("GET", "/api/v2", 404),
        ("POST", "/version", 405),
        ("PUT", MAPS, 405),
        ("PATCH", MAPS, 405),
        ("POST", f"{MAPS}/a", 405),
        ("GET", "/api/v1/namespaces/default/nodes", 404),
        ("GET", "/api/v1/configmaps/a", 405),
        ("BREW", MAPS, 405),
        ("DELETE", "/api/v1/namespaces", 405),
    ],
)
async def test_what_is_not_served(method: str, target: str, code: int) -> None:
    async with api_server() as api:
        assert (await api.refused(method, target, config_map("a")))[0] == code


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)"),
        (b'{"a', "unexpected end of JSON input"),
        (b"{x}", "invalid character 'x' looking for beginning of"),
        (b"[]", "json: cannot unmarshal array into Go value of type struct"),
        (b"7", "json: cannot unmarshal number into Go value of type struct"),
        (b"null", "json: cannot unmarshal null into Go value of type struct"),
        (b'{"kind":5}', "json: cannot unmarshal number into Go struct field .kind of type string"),
        (
            b'{"kind":"Pod","apiVersion":"apps/v1"}',
            'Pod in version "v1" cannot be handled as a ConfigMap: no kind "Pod" is registered for version "apps/v1"',
        ),
        (
            b'{"kind":"Deployment","apiVersion":"apps/v1"}',
            "the API version in the data (apps/v1) does not match the expected API version (v1)",
        ),
        (b'{"kind":"Pod","apiVersion":"v1"}', 'Pod in version "v1" cannot be handled as a ConfigMap: converting'),
        (b'{"metadata":{"name":5}}', "cannot unmarshal number into Go struct field"),
        (b'{"metadata":[]}', "cannot unmarshal array into Go struct field"),
        (b'{"metadata":{"name":"a"},"data":{"a":5}}', "cannot unmarshal number into Go struct field"),
    ],
)
async def test_bad_bodies_are_bad_requests(body: bytes, message: str) -> None:
    async with api_server() as api:
        code, reason, text = await api.refused("POST", MAPS, body)
        assert (code, reason) == (400, "BadRequest")
        assert message in text


async def test_formats() -> None:
    async with api_server() as api:
        yaml = b"kind: ConfigMap\nmetadata:\n  name: y\ndata:\n  a: '1'\n"
        await api.json("POST", MAPS, yaml, headers={"content-type": "application/yaml"}, expect=201)
        broken = await api.refused("POST", MAPS, b"a: [", headers={"content-type": "application/yaml"})
        assert broken[0] == 400
        assert "error converting YAML to JSON: yaml: " in broken[2]
        code, reason, message = await api.refused("POST", MAPS, b"<a/>", headers={"content-type": "text/xml"})
        assert (code, reason) == (415, "UnsupportedMediaType")
        assert message.startswith("the body of the request was in an unknown format - accepted media types include: ")


async def test_protobuf() -> None:
    media = {"content-type": "application/vnd.kubernetes.protobuf"}
    map_ = envelope("v1", "ConfigMap", chunk(1, chunk(1, b"m")) + chunk(2, chunk(1, b"a") + chunk(2, b"1")))
    async with api_server() as api:
        assert (await api.json("POST", MAPS, map_, headers=media, expect=201))["data"] == {"a": "1"}
        assert (await api.refused("POST", MAPS, b"k8s", headers=media))[0] == 400
        assert (await api.refused("POST", MAPS, envelope("v1", "Pod", b""), headers=media))[0] == 400
        unknown = envelope("v1", "ConfigMap", chunk(1, chunk(1, b"n")) + chunk(99, b"more"))
        strict = await api.send("POST", f"{MAPS}?fieldValidation=Strict", unknown, headers=media)
        assert strict.status == 201
        assert "warning" not in strict.headers
        options = envelope("v1", "DeleteOptions", chunk(4, b"Background"))
        await api.json("DELETE", f"{MAPS}/m", options, headers=media)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["metadata", "spec", "name", "containers", "labels", "x"]), inner, max_size=4)
    ),
    max_leaves=10,
)


@settings(max_examples=80, deadline=None)
@given(
    json_values,
    st.sampled_from(["POST", "PUT", "PATCH", "DELETE"]),
    st.sampled_from(["pods", "services", "configmaps"]),
)
def test_no_body_makes_the_server_fail(body: Any, method: str, plural: str) -> None:
    import asyncio

    async def run() -> None:
        async with api_server() as api:
            await api.client.create(CONFIG_MAPS, config_map("a"), "default")
            target = f"/api/v1/namespaces/default/{plural}" + ("" if method == "POST" else "/a")
            for media in ("application/json", "application/merge-patch+json", "application/apply-patch+yaml"):
                sent = orjson.dumps(body) if not _is_too_big(body) else b"{}"
                response = await api.send(method, f"{target}?fieldManager=f", sent, headers={"content-type": media})
                assert response.status < 500, response.body

    asyncio.run(run())


def _is_too_big(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_is_too_big, value.values()))
    if isinstance(value, list):
        return any(map(_is_too_big, value))
    return isinstance(value, int) and not -(2**63) <= value < 2**64


async def test_a_defect_and_a_full_disk_are_answered(caplog: pytest.LogCaptureFixture) -> None:
    async with api_server() as api:

        async def full(*_: object) -> None:
            raise StorageFull

        api.runtime.store.create = full  # type: ignore[method-assign, assignment] # the store of this test only
        assert (await api.refused("POST", MAPS, config_map("a")))[0] == 507

        async def defect(*_: object) -> None:
            raise RuntimeError("a defect")

        api.runtime.store.create = defect  # type: ignore[method-assign, assignment] # as above
        assert (await api.refused("POST", MAPS, config_map("a")))[0] == 500
        assert "a defect" in caplog.text


async def test_discovery() -> None:
    async with api_server() as api:
        assert "v1" in (await api.json("GET", "/api"))["versions"]
        groups = {group["name"] for group in (await api.json("GET", "/apis"))["groups"]}
        assert {"apps", "batch", "rbac.authorization.k8s.io"} <= groups
        assert (await api.json("GET", "/apis/apps"))["preferredVersion"]["version"] == "v1"
        resources = {entry["name"] for entry in (await api.json("GET", "/api/v1"))["resources"]}
        assert {"pods", "pods/log", "namespaces/finalize"} <= resources
        accept = {"accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}
        response = await api.send("GET", "/apis", headers=accept)
        assert response.content_type.endswith("as=APIGroupDiscoveryList")
        again = await api.send("GET", "/apis", headers={**accept, "if-none-match": response.headers["etag"]})
        assert (again.status, again.body) == (304, b"")
        assert "/apis/apps" in (await api.json("GET", "/"))["paths"]


async def test_openapi() -> None:
    async with api_server() as api:
        index = await api.json("GET", "/openapi/v3")
        assert "apis/apps/v1" in index["paths"]
        document = await api.json("GET", "/openapi/v3/apis/apps/v1")
        assert document["openapi"].startswith("3.")
        assert (await api.refused("GET", "/openapi/v3/apis/none/v1"))[0] == 404
        address = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
        kept = await api.send("GET", address)
        assert kept.headers["cache-control"] == "public, immutable"
        assert kept.headers["etag"].strip('"') == address.partition("=")[2]
        moved = await api.send("GET", "/openapi/v3/apis/apps/v1?hash=OLD")
        assert (moved.status, moved.headers["location"]) == (301, address)
        assert (await api.json("GET", "/openapi/v2"))["swagger"] == "2.0"
        asked = {"accept": "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"}
        as_protobuf = await api.send("GET", "/openapi/v2", headers=asked)
        assert as_protobuf.status == 200
        assert as_protobuf.content_type == "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
        assert as_protobuf.body.startswith(b"\x0a\x032.0")


async def test_health_version_and_metrics() -> None:
    async with api_server() as api:
        assert (await api.json("GET", "/version"))["major"] == "1"
        for kind in ("healthz", "livez", "readyz"):
            assert (await api.send("GET", f"/{kind}")).body == b"ok"
        verbose = await api.send("GET", "/readyz?verbose")
        assert verbose.body.startswith(b"[+]ping ok\n")
        assert verbose.body.endswith(b"readyz check passed\n")
        assert b"[+]informer-sync ok" not in (await api.send("GET", "/livez?verbose")).body
        without = (await api.send("GET", "/livez?verbose&exclude=etcd&exclude=x&exclude=y")).body
        assert b"[+]etcd excluded: ok\n" in without
        assert b'warn: some health checks cannot be excluded: no matches for "x", "y"\n' in without
        assert (await api.send("GET", "/livez/ping")).body == b"ok"
        assert (await api.refused("GET", "/livez/nonsense"))[0] == 404
        await api.json("GET", MAPS)
        text = (await api.send("GET", "/metrics")).body.decode()
        assert 'resource="configmaps",subresource="",scope="namespace",code="200"} 1' in text
        assert 'apiserver_storage_objects{resource="namespaces"} 1' in text
        assert "\nprocess_resident_memory_bytes " in text
        assert 'kubernetes_build_info{major="1",' in text
        await api.send("GET", "/api/v1/componentstatuses")
        text = (await api.send("GET", "/metrics")).body.decode()
        assert 'apiserver_requested_deprecated_apis{group="",version="v1",resource="componentstatuses",' in text
        api.runtime.cache.failure = RuntimeError("gone")
        failed = await api.send("GET", "/readyz")
        assert failed.status == 500
        assert b"[-]etcd failed" in failed.body


async def test_extra_documents() -> None:
    async with api_server(documents={"/openid/v1/jwks": lambda: {"keys": []}}) as api:
        assert await api.json("GET", "/openid/v1/jwks") == {"keys": []}


async def test_requests_are_counted_by_what_they_are_about() -> None:
    async with api_server() as api:
        await made(api)
        counted = {labels.verb for labels, _ in api.runtime.metrics._requests}
        assert {"POST", "LIST", "DELETE"} <= counted
        await api.send("GET", "/api/v1/made-up")
        await api.send("GET", "/api/v1/namespaces/a/pods/p/made-up")
        assert "made-up" not in (await api.send("GET", "/metrics")).body.decode()


async def made(api: Api) -> None:
    await api.json("POST", "/api/v1/namespaces/default/pods", pod("p"), expect=201)
    await api.json("GET", "/api/v1/pods")
    await api.json("DELETE", "/api/v1/namespaces/default/pods/p", user=ADMIN)


async def test_answers_are_indented_for_people() -> None:
    async with api_server() as api:
        await api.json("POST", MAPS, config_map("a"), expect=201)
        for headers, query, indents in (
            ({"user-agent": "curl/8.5.0"}, "", True),
            ({"user-agent": "kubectl/v1.36"}, "", False),
            ({"user-agent": "kubectl/v1.36"}, "?pretty=true", True),
            ({"user-agent": "curl/8.5.0"}, "?pretty=0", False),
        ):
            for path in (f"{MAPS}/a", MAPS, "/version", f"{MAPS}/none"):
                body = (await api.send("GET", path + query, headers=headers)).whole()
                assert (b'\n  "' in body) is indents, (path, query, headers)
        watched = await api.send("GET", f"{MAPS}?watch=true", headers={"user-agent": "curl/8.5.0"})
        assert b"\n " not in await anext(aiter(watched.stream))  # type: ignore[arg-type]  # a watch has one
        await watched.stream.aclose()  # type: ignore[union-attr]  # every stream of a watch has it


async def test_every_use_of_a_deprecated_type_is_warned_of() -> None:
    async with api_server() as api:
        found = await api.send("GET", "/api/v1/namespaces/default/endpoints")
        assert found.headers["warning"] == (
            '299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"'
        )
