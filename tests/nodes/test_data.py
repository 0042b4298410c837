"""Programs that keep data: Redis that moves with its volume, a StatefulSet, and the policy that guards them."""

from __future__ import annotations

import pytest

from tests.nodes.space import Space
from tests.region_process import eventually

SETTLED = 180


@pytest.fixture(scope="module", autouse=True)
def running(space: Space) -> None:
    space.apply("data.yaml")
    space.rolled_out("deployment/redis", "statefulset/member")
    space.ready("front", "stranger")


def redis(space: Space, client: str, *words: str) -> str:
    return space.attempt("exec", client, "--", "timeout", "3", "redis-cli", "-h", "redis", *words).stdout.strip()


def test_a_claim_waits_for_its_first_consumer(space: Space) -> None:
    claim = space.get("pvc", "redis")
    assert claim["status"]["phase"] == "Bound"
    assert claim["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] == node_of(space, "app=redis")
    volume = space.region.get("pv", claim["spec"]["volumeName"])
    assert volume["spec"]["csi"]["driver"] == "ebs.csi.aws.com"
    handle = volume["spec"]["csi"]["volumeHandle"]
    described = space.region.client("ec2").describe_volumes(VolumeIds=[handle])["Volumes"][0]
    assert (described["VolumeType"], described["State"], described["Size"]) == ("gp3", "in-use", 1)
    size = space.run("deployment/redis", "df", "-k", "/data").splitlines()[-1].split()
    assert 900_000 < int(size[1]) < 1 << 20


def node_of(space: Space, label: str) -> str:
    return str(space.get("pods", "-l", label)["items"][0]["spec"]["nodeName"])


def test_a_network_policy_lets_in_whom_it_names(space: Space) -> None:
    eventually(lambda: redis(space, "front", "ping") == "PONG", "redis answers")
    assert redis(space, "stranger", "ping") == ""
    space.kubectl("label", "pod", "stranger", "tier=front", "--overwrite")
    try:
        space.run("stranger", "sh", "-c", "until timeout 1 redis-cli -h redis ping; do :; done")
    finally:
        space.kubectl("label", "pod", "stranger", "tier=other", "--overwrite")


def test_a_drained_node_s_redis_goes_on_elsewhere_with_its_data(space: Space) -> None:
    assert redis(space, "front", "set", "kept", "across nodes") == "OK"
    node = node_of(space, "app=redis")
    drained = space.kubectl(
        *("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--pod-selector=app=redis"),
        *(f"--timeout={SETTLED}s",),
    )
    try:
        assert f"node/{node} drained" in drained
        space.rolled_out("deployment/redis")
        assert node_of(space, "app=redis") != node
        assert redis(space, "front", "get", "kept") == "across nodes"
    finally:
        space.kubectl("uncordon", node)
    attachments = space.region.get("volumeattachments")["items"]
    volume = space.get("pvc", "redis")["spec"]["volumeName"]
    assert len([each for each in attachments if each["spec"]["source"]["persistentVolumeName"] == volume]) == 1


def test_members_of_a_stateful_set_keep_name_address_and_data(space: Space) -> None:
    space.kubectl("delete", "pod", "member-1")
    space.rolled_out("statefulset/member")
    assert space.run("member-1", "cat", "/data/names").split() == ["member-1", "member-1"]
    assert space.run("member-0", "cat", "/data/names").split() == ["member-0"]
    for name in ("member-0", "member-1"):
        address = space.field(f"pod/{name}", ".status.podIP")
        # A name's address lives as long as CoreDNS keeps it.
        wanted = f"until getent hosts {name}.member | grep -w {address}; do sleep 0.2; done"
        space.run("front", "timeout", "180", "sh", "-c", wanted)
    assert space.run("member-0", "hostname", "-f").strip() == f"member-0.member.{space.name}.svc.cluster.local"
