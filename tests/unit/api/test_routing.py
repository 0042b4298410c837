from __future__ import annotations

import pytest

from twinplane.controlplane.api.routing import Route, route


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/api/v1/pods", Route("list", "", "", "v1", "", "pods")),
        ("GET", "/api/v1/namespaces/a/pods/b", Route("get", "", "", "v1", "a", "pods", "b")),
        ("GET", "/api/v1/namespaces/a/pods/b/log", Route("get", "", "", "v1", "a", "pods", "b", "log")),
        ("POST", "/apis/apps/v1/namespaces/a/deployments", Route("create", "", "apps", "v1", "a", "deployments")),
        ("GET", "/api/v1/namespaces/a", Route("get", "", "", "v1", "a", "namespaces", "a")),
        ("PUT", "/api/v1/namespaces/a/finalize", Route("update", "", "", "v1", "a", "namespaces", "a", "finalize")),
        ("GET", "/api/v1/namespaces", Route("list", "", "", "v1", "", "namespaces")),
        ("DELETE", "/api/v1/nodes", Route("deletecollection", "", "", "v1", "", "nodes")),
        ("DELETE", "/api/v1/nodes/n", Route("delete", "", "", "v1", "", "nodes", "n")),
        ("GET", "/api/v1/watch/namespaces/a/pods", Route("watch", "", "", "v1", "a", "pods")),
        ("GET", "/healthz", Route("get", "")),
        ("GET", "/apis/apps/v1", Route("get", "")),
        ("POST", "/api/v1", Route("post", "")),
        ("GET", "/api/v1/nodes/n/proxy/a/b", Route("get", "", "", "v1", "", "nodes", "n", "proxy", ("a", "b"))),
    ],
)
def test_paths(method: str, path: str, expected: Route) -> None:
    found = route(method, path, {})
    assert found.path == path
    fields = ("verb", "group", "version", "namespace", "resource", "name", "subresource", "rest")
    assert [getattr(found, field) for field in fields] == [getattr(expected, field) for field in fields]


@pytest.mark.parametrize(
    ("value", "verb"),
    [("1", "watch"), ("true", "watch"), ("", "watch"), ("0", "list"), ("False", "list"), ("x", "watch")],
)
def test_watch_is_a_boolean(value: str, verb: str) -> None:
    assert route("GET", "/api/v1/pods", {"watch": value}).verb == verb


def test_list_of_one_name_is_authorized_by_it() -> None:
    found = route("GET", "/api/v1/namespaces/a/secrets", {"fieldSelector": "type=x,metadata.name=b"})
    assert (found.verb, found.name) == ("list", "b")
