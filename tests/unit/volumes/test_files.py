"""The files of volumes: the atomic writer, what a pod is told of itself, tokens, subpaths."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinplane.clock import rfc3339
from twinplane.dataplane.kubelet.contract import InvalidMount, Mounted
from twinplane.dataplane.volumes import atomic_writer, container_mounts, empty_dir, subpaths
from twinplane.dataplane.volumes.atomic_writer import File
from twinplane.dataplane.volumes.downward import DownwardError, field_value, resource_value
from twinplane.dataplane.volumes.projections import common_user
from twinplane.dataplane.volumes.subpaths import UnsafePath
from twinplane.dataplane.volumes.tokens import Tokens
from twinplane.dataplane.volumes.usage import used_bytes
from twinplane.kubeclient.contract import Object
from twinplane.testing.memory_cluster import MemoryCluster

paths = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map("/".join)


def shown(directory: Path) -> dict[str, bytes]:
    found = {}
    for folder, _, files in os.walk(directory, followlinks=True):
        for name in files:
            path = Path(folder, name).relative_to(directory)
            if not path.parts[0].startswith(".."):
                found[str(path)] = Path(folder, name).read_bytes()
    return found


def is_prefix_free(payload: dict[str, bytes]) -> bool:
    return not any(other.startswith(path + "/") for path in payload for other in payload)


payloads = st.dictionaries(paths, st.binary(max_size=8), max_size=4).filter(is_prefix_free)


@settings(deadline=None, max_examples=30)
@given(st.lists(payloads, max_size=4))
def test_the_directory_shows_the_last_payload(tmp_path_factory: pytest.TempPathFactory, given: Any) -> None:
    directory = tmp_path_factory.mktemp("volume")
    for number, payload in enumerate(given):
        files = {path: File(content, 0o644) for path, content in payload.items()}
        atomic_writer.write(directory, files, now=float(number))
        assert shown(directory) == payload
        assert atomic_writer.write(directory, files, now=float(number)) is False
    assert len([entry for entry in os.listdir(directory) if entry.startswith(("..2", "..1"))]) <= 1


@pytest.mark.parametrize("path", ["", "/etc/passwd", "a/../../b", "..data", "x" * 256])
def test_paths_that_are_not_written(tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match="invalid path"):
        atomic_writer.write(tmp_path, {path: File(b"", 0o644)})


POD: Object = {
    "metadata": {
        "name": "web",
        "namespace": "shop",
        "uid": "u1",
        "labels": {"b": "2", "a": 'say "hi"'},
        "annotations": {"k": "line\nbreak"},
    },
    "spec": {
        "serviceAccountName": "robot",
        "containers": [{"name": "app", "resources": {"limits": {"memory": "64Mi", "cpu": "1500m"}}}],
    },
}


def test_fields() -> None:
    assert field_value(POD, "metadata.labels") == 'a="say \\"hi\\""\nb="2"'
    assert field_value(POD, "metadata.annotations") == 'k="line\\nbreak"'
    assert field_value(POD, "metadata.labels['b']") == "2"
    assert field_value(POD, "metadata.uid") == "u1"
    with pytest.raises(DownwardError):
        field_value(POD, "spec.nodeName")


@pytest.mark.parametrize(
    ("resource", "divisor", "value"),
    [
        ("limits.cpu", None, "2"),
        ("limits.cpu", "1m", "1500"),
        ("limits.memory", "1Mi", "64"),
        ("limits.memory", None, str(64 << 20)),
        ("requests.cpu", None, "2"),
        ("limits.ephemeral-storage", "1Gi", "20"),
    ],
)
def test_resources(resource: str, divisor: str | None, value: str) -> None:
    reference = {"containerName": "app", "resource": resource, "divisor": divisor}
    assert resource_value(POD, reference, {"ephemeral-storage": "20Gi"}) == value


def test_one_user() -> None:
    def pod(*users: int | None) -> Object:
        containers = [
            {"name": "x", "securityContext": {"runAsUser": user}} if user else {"name": "x"} for user in users
        ]
        return {"spec": {"containers": containers, "securityContext": {"runAsUser": 7}}}

    assert [common_user(pod(1, 1)), common_user(pod(1, 2)), common_user(pod(None, None))] == [1, None, 7]


def test_memory_volumes_are_no_larger_than_what_the_pod_may_use() -> None:
    node = {"memory": "1Gi"}
    assert empty_dir.memory_size({"sizeLimit": "10Mi"}, POD, node) == 10 << 20
    assert empty_dir.memory_size({}, POD, node) == 64 << 20
    assert empty_dir.memory_size({}, {"spec": {"containers": [{"name": "x"}]}}, node) == 1 << 30


class Time:
    def __init__(self) -> None:
        self.value = 1_000_000.0

    def now(self) -> float:
        return self.value


class Issuer(MemoryCluster):
    """Answers TokenRequests, or nothing when it is away."""

    def __init__(self, time: Time) -> None:
        super().__init__()
        self.time, self.asked, self.away = time, list[Object](), False

    async def create(self, resource: Any, body: Object, namespace: str | None = None, **more: Any) -> Object:
        if self.away:
            raise ConnectionError("away")
        assert (resource.plural, more) == ("serviceaccounts", {"name": "robot", "subresource": "token"})
        self.asked.append(body["spec"])
        expires = rfc3339(self.time.value + body["spec"]["expirationSeconds"])
        return {"status": {"token": f"t{len(self.asked)}", "expirationTimestamp": expires}}


async def test_tokens_are_renewed_at_four_fifths_of_their_life(tmp_path: Path) -> None:
    time = Time()
    issuer = Issuer(time)
    tokens = Tokens(issuer, time, tmp_path / "tokens")
    assert await tokens.get(POD, "vault", 1000) == "t1"
    assert issuer.asked[0]["audiences"] == ["vault"]
    assert issuer.asked[0]["boundObjectRef"] == {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "u1"}
    time.value += 799
    assert await tokens.get(POD, "vault", 1000) == "t1"
    time.value += 1
    issuer.away = True
    assert await tokens.get(POD, "vault", 1000) == "t1", "the old one is still valid"
    issuer.away = False
    assert await tokens.get(POD, "vault", 1000) == "t2"
    issuer.away = True
    time.value += 1001
    restarted = Tokens(issuer, time, tmp_path / "tokens")
    assert await restarted.get(POD, "vault", 1000) == "t2", "a node brings its pods back without the API server"
    assert (tmp_path / "tokens/u1").stat().st_mode & 0o777 == 0o600
    restarted.forget("u1")
    with pytest.raises(ConnectionError):
        await restarted.get(POD, "vault", 1000)


def test_container_mounts(tmp_path: Path) -> None:
    mount = {"name": "v", "mountPath": "data", "mountPropagation": "HostToContainer"}
    container = {"name": "app", "volumeMounts": [mount]}
    (made,) = container_mounts.of_container(container, {"v": Mounted(tmp_path, read_only=True)}, {}, tmp_path)
    assert (made.host_path, made.container_path, made.read_only) == (str(tmp_path), "/data", True)
    assert made.propagation == "HostToContainer"
    for wrong, why in [
        ({"name": "w", "mountPath": "/x"}, "cannot find volume"),
        ({"name": "v", "mountPath": "/x", "subPath": "../x"}, "must not contain"),
        ({"name": "v", "mountPath": "/x", "subPath": "/x"}, "absolute"),
        ({"name": "v", "mountPath": "/x", "subPathExpr": "$(NONE)"}, 'missing value for "NONE"'),
    ]:
        with pytest.raises(InvalidMount, match=why):
            container_mounts.of_container(
                {"name": "app", "volumeMounts": [wrong]}, {"v": Mounted(tmp_path)}, {}, tmp_path
            )


def test_links_are_followed_beneath_the_volume_only(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to("in")
    (tmp_path / "out").symlink_to("/etc")
    (tmp_path / "up").symlink_to("..")
    root = os.open(tmp_path, os.O_PATH)
    try:
        os.close(subpaths.open_beneath(root, "link"))
        subpaths.make_directory(root, "link/deep/er", 0o750)
        assert (tmp_path / "in/deep/er").stat().st_mode & 0o777 == 0o750
        for path in ("out", "up/x", "out/passwd"):
            with pytest.raises(UnsafePath):
                subpaths.open_beneath(root, path)
        with pytest.raises(UnsafePath):
            subpaths.make_directory(root, "up/made", 0o755)
    finally:
        os.close(root)
    assert not (tmp_path.parent / "made").exists()


def test_used_bytes_counts_each_file_once(tmp_path: Path) -> None:
    before = used_bytes(tmp_path)
    (tmp_path / "file").write_bytes(b"x" * 8192)
    os.link(tmp_path / "file", tmp_path / "again")
    assert used_bytes(tmp_path) - before == 8192
    assert used_bytes(tmp_path / "missing") == 0
