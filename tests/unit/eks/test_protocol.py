from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinplane.cloud.eks.errors import EksError, no_nodegroup
from twinplane.cloud.eks.protocol import Protocol, error_response
from twinplane.cloud.requests import AwsRequest

PROTOCOL = Protocol.of("eks")


def request(method: str, path: str, body: object = None, query: str = "") -> AwsRequest:
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return AwsRequest(method, path, query, (), content)


def test_paths_labels_and_queries_become_parameters() -> None:
    assert PROTOCOL.parse(request("GET", "/clusters/demo/node-groups", query="maxResults=5&nextToken=a%20b")) == (
        "ListNodegroups",
        {"clusterName": "demo", "maxResults": 5, "nextToken": "a b"},
    )
    assert PROTOCOL.parse(
        request("DELETE", "/tags/arn%3Aaws%3Aeks%3A%3A%3Acluster%2Fx", query="tagKeys=a&tagKeys=b")
    ) == (
        "UntagResource",
        {"resourceArn": "arn:aws:eks:::cluster/x", "tagKeys": ["a", "b"]},
    )
    name, found = PROTOCOL.parse(request("POST", "/clusters/demo/updates", {"version": "1.36"}))
    assert (name, found) == ("UpdateClusterVersion", {"name": "demo", "version": "1.36"})


def test_every_operation_has_a_route_of_its_own() -> None:
    assert len(PROTOCOL.operations) > 50


CLUSTER = {"name": "demo", "roleArn": "arn:x", "resourcesVpcConfig": {}}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "Unable to parse request body as JSON"),
        (b"[]", "expected an object"),
        ({}, "Value null at 'name' failed to satisfy constraint: Member must not be null"),
        (CLUSTER | {"name": 7}, "expected string"),
        (CLUSTER | {"name": ""}, "have length greater than or equal to 1"),
        (CLUSTER | {"name": "x" * 101}, "have length less than or equal to 100"),
        (CLUSTER | {"resourcesVpcConfig": {"subnetIds": "subnet-1"}}, "expected list"),
        (CLUSTER | {"resourcesVpcConfig": {"endpointPublicAccess": "yes"}}, "expected boolean"),
        (CLUSTER | {"tags": {"a": 1}}, "expected string"),
        (CLUSTER | {"upgradePolicy": {"supportType": "FOREVER"}}, "satisfy enum value set: [STANDARD, EXTENDED]"),
    ],
)
def test_what_the_model_forbids_is_refused(body: object, message: str) -> None:
    with pytest.raises(EksError) as caught:
        PROTOCOL.parse(request("POST", "/clusters", body))
    assert caught.value.status == 400
    assert message in caught.value.message


def test_an_unknown_path_is_not_found() -> None:
    with pytest.raises(EksError, match="UnknownOperationException"):
        PROTOCOL.parse(request("GET", "/nothing"))


def test_nulls_are_absent_and_unknown_members_are_ignored() -> None:
    _, found = PROTOCOL.parse(request("POST", "/clusters", CLUSTER | {"version": None, "surprise": 1}))
    assert found == CLUSTER


def test_answers_show_only_what_the_shape_has() -> None:
    record = {"name": "demo", "createdAt": 1.5, "made": {"x": 1}, "version": None, "tags": {"a": "b"}}
    answer = PROTOCOL.serialize("DescribeCluster", {"cluster": record})
    assert json.loads(answer.body) == {"cluster": {"name": "demo", "createdAt": 1.5, "tags": {"a": "b"}}}


def test_errors_name_their_type_in_a_header() -> None:
    answer = error_response(no_nodegroup("demo", "ng"))
    assert answer.status == 404
    assert dict(answer.headers)["x-amzn-ErrorType"] == "ResourceNotFoundException"
    assert json.loads(answer.body) == {
        "message": "No node group found for name: ng.",
        "clusterName": "demo",
        "nodegroupName": "ng",
    }


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=8,
)
MEMBERS = ["name", "roleArn", "resourcesVpcConfig", "tags", "logging", "version", "encryptionConfig", "accessConfig"]


@settings(max_examples=200)
@given(body=st.dictionaries(st.sampled_from(MEMBERS), values))
def test_any_body_is_parsed_or_refused(body: dict[str, Any]) -> None:
    with contextlib.suppress(EksError):
        assert PROTOCOL.parse(request("POST", "/clusters", body))[0] == "CreateCluster"
