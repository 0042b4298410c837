"""What clients get wrong: the status code and the message that upstream gives, and never a 500."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.clients.conftest import CLUSTER
from tests.region_process import RegionProcess

JSON = "application/json"
MEBIBYTE = 2**20


@dataclass
class Api:
    address: str
    context: ssl.SSLContext
    token: str

    def send(
        self, method: str, path: str, body: str | bytes = b"", *, kind: str = JSON, token: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPSConnection(self.address, context=self.context, timeout=60)
        headers = {"Content-Type": kind}
        credential = self.token if token is None else token
        if credential:
            headers["Authorization"] = f"Bearer {credential}"
        try:
            connection.request(method, path, body.encode() if isinstance(body, str) else body, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()


@pytest.fixture(scope="module")
def api(region: RegionProcess) -> Api:
    cluster = region.client("eks").describe_cluster(name=CLUSTER)["cluster"]
    authority = base64.b64decode(cluster["certificateAuthority"]["data"]).decode()
    token = json.loads(region.run("twinplane", "token", "--cluster", CLUSTER))["status"]["token"]
    return Api(urlsplit(cluster["endpoint"]).netloc, ssl.create_default_context(cadata=authority), token)


CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


def config_map(**more: Any) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, **more})


def deployment(spec: dict[str, Any]) -> str:
    return json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": spec})


REFUSALS = [
    ("POST", CONFIG_MAPS, "{", 400, "BadRequest", "unexpected end of JSON input"),
    ("POST", CONFIG_MAPS, "[]", 400, "BadRequest", "cannot unmarshal array"),
    ("POST", CONFIG_MAPS, config_map(kind="Secret"), 400, "BadRequest", "Secret in version"),
    (
        "POST",
        CONFIG_MAPS,
        config_map(apiVersion="v9"),
        400,
        "BadRequest",
        'no kind "ConfigMap" is registered for version',
    ),
    ("POST", CONFIG_MAPS, config_map(data={"a": 1}), 400, "BadRequest", "cannot unmarshal number into Go struct field"),
    ("POST", CONFIG_MAPS, config_map(data={"a b": "c"}), 422, "Invalid", "a valid config key must consist of"),
    ("POST", CONFIG_MAPS, config_map(metadata={"name": "A_B"}), 422, "Invalid", "a lowercase RFC 1123 subdomain"),
    ("POST", CONFIG_MAPS, config_map(metadata={}), 422, "Invalid", "name or generateName is required"),
    ("POST", CONFIG_MAPS, config_map(metadata={"name": "x", "namespace": "y"}), 400, "BadRequest", "does not match"),
    ("POST", DEPLOYMENTS, deployment({"replicas": "two"}), 400, "BadRequest", "cannot unmarshal string into Go"),
    ("POST", DEPLOYMENTS, deployment({}), 422, "Invalid", "spec.selector: Required value"),
    (
        "GET",
        "/api/v1/namespaces/default/flurbs",
        "",
        404,
        "NotFound",
        "the server could not find the requested resource",
    ),
    (
        "GET",
        "/apis/none.example.com/v1/things",
        "",
        404,
        "NotFound",
        "the server could not find the requested resource",
    ),
    ("GET", CONFIG_MAPS + "/absent", "", 404, "NotFound", 'configmaps "absent" not found'),
    ("GET", CONFIG_MAPS + "?labelSelector=a%20b%20c", "", 400, "BadRequest", "unable to parse requirement"),
    ("GET", CONFIG_MAPS + "?fieldSelector=spec.x%3D1", "", 400, "BadRequest", '"spec.x" is not a known field selector'),
    ("GET", CONFIG_MAPS + "?limit=x", "", 400, "BadRequest", 'parsing "x": invalid syntax'),
    ("GET", CONFIG_MAPS + "?continue=nonsense&limit=1", "", 400, "BadRequest", "continue"),
    ("GET", CONFIG_MAPS + "?resourceVersion=x", "", 400, "", 'parsing "x": invalid syntax'),
    ("PUT", CONFIG_MAPS + "/absent", config_map(metadata={"name": "absent"}), 404, "NotFound", "not found"),
    ("PUT", CONFIG_MAPS + "/other", config_map(), 400, "BadRequest", "the name of the object (x) does not match"),
    ("DELETE", "/api/v1/namespaces/default", "", 403, "Forbidden", "this namespace may not be deleted"),
    ("POST", "/api/v1/namespaces/none/configmaps", config_map(), 404, "NotFound", 'namespaces "none" not found'),
    ("POST", CONFIG_MAPS + "?dryRun=Maybe", config_map(), 422, "Invalid", "Unsupported value"),
    (
        "POST",
        CONFIG_MAPS + "?fieldValidation=Strict",
        config_map(colour="red"),
        400,
        "BadRequest",
        'unknown field "colour"',
    ),
    (
        "PATCH",
        CONFIG_MAPS + "/kube-root-ca.crt",
        "{}",
        415,
        "UnsupportedMediaType",
        "the body of the request was in an",
    ),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: f"{refusal[0]}-{refusal[3]}-{refusal[5][:30]}")
def test_refusals(api: Api, refusal: tuple[str, str, str, int, str, str]) -> None:
    method, path, body, code, reason, message = refusal
    status, answer = api.send(method, path, body)
    assert (status, answer.get("kind"), answer.get("status")) == (code, "Status", "Failure"), answer
    assert answer["code"] == code
    assert message in answer["message"]
    if reason:
        assert answer["reason"] == reason


def test_a_body_over_the_limit_is_refused(api: Api) -> None:
    status, answer = api.send("POST", CONFIG_MAPS, config_map(data={"a": "x" * (3 * MEBIBYTE + 1)}))
    assert status == 413
    assert answer["reason"] == "RequestEntityTooLarge"
    assert "limit is 3145728" in answer["message"]


@pytest.mark.parametrize(
    "token",
    ["nonsense", "k8s-aws-v1.nonsense", "a.b.c", "k8s-aws-v1." + base64.urlsafe_b64encode(b"http://x").decode()],
)
def test_bad_tokens_are_unauthorized(api: Api, token: str) -> None:
    status, answer = api.send("GET", "/api/v1/nodes", token=token)
    assert (status, answer["reason"], answer["message"]) == (401, "Unauthorized", "Unauthorized")


def test_without_credentials_one_is_anonymous(api: Api) -> None:
    status, answer = api.send("GET", "/api/v1/nodes", token="")
    assert status == 403
    assert answer["message"] == (
        'nodes is forbidden: User "system:anonymous" cannot list resource "nodes" in API group "" at the cluster scope'
    )
    assert api.send("GET", "/version", token="")[0] == 200


def test_yaml_bodies_are_taken_and_bad_yaml_is_refused(api: Api) -> None:
    manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: from-yaml}\ndata: {a: b}\n"
    assert api.send("POST", CONFIG_MAPS, manifest, kind="application/yaml")[0] == 201
    assert api.send("DELETE", CONFIG_MAPS + "/from-yaml")[0] == 200
    status, answer = api.send("POST", CONFIG_MAPS, "a: [", kind="application/yaml")
    assert (status, answer["reason"]) == (400, "BadRequest")


def test_a_stale_write_is_a_conflict_with_upstreams_words(api: Api) -> None:
    assert api.send("POST", CONFIG_MAPS, config_map(metadata={"name": "stale"}))[0] == 201
    stale = config_map(metadata={"name": "stale", "resourceVersion": "1"})
    status, answer = api.send("PUT", CONFIG_MAPS + "/stale", stale)
    assert status == 409
    assert answer["message"] == (
        'Operation cannot be fulfilled on configmaps "stale": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    assert api.send("POST", CONFIG_MAPS, config_map(metadata={"name": "stale"}))[1]["reason"] == "AlreadyExists"
    assert api.send("DELETE", CONFIG_MAPS + "/stale")[0] == 200
