"""What a container on a real node sees from within: its files, its environment, its rights, its limits, its node."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.nodes.space import Space
from tests.region_process import eventually

TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"
CALL = (
    f'curl -sS -m 5 -o /dev/null -w "%{{http_code}}" --cacert {TOKEN}/ca.crt '
    f'-H "Authorization: Bearer $(cat {TOKEN}/token)" '
    f"https://kubernetes.default/api/v1/namespaces/$(cat {TOKEN}/namespace)/"
)


@pytest.fixture(scope="module", autouse=True)
def running(space: Space) -> None:
    space.apply("kitchen.yaml")
    space.ready("kitchen", "plain")


def within(space: Space, script: str, pod: str = "kitchen") -> list[str]:
    """Lines of what a script says in the pod's main container."""
    return space.kubectl("exec", pod, "-c", "main", "--", "sh", "-c", script).splitlines()


def test_environment(space: Space) -> None:
    found = dict(line.split("=", 1) for line in within(space, "env") if "=" in line)
    pod = space.get("pod", "kitchen")
    wanted = {
        "COLOR": "red",
        "ALL_color": "red",
        "PASSWORD": "s3cret",
        "POD_NAME": "kitchen",
        "POD_IP": pod["status"]["podIP"],
        "HOST_IP": pod["status"]["hostIP"],
        "NODE": pod["spec"]["nodeName"],
        "CPU": "250",
        "MEMORY": str(64 << 20),
        "EXPANDED": "red-$(ABSENT)-$(COLOR)",
        "HOSTNAME": "kit",
        "KUBERNETES_SERVICE_HOST": "10.100.0.1",
    }
    assert {name: found.get(name) for name in wanted} == wanted


def test_init_containers_and_the_sidecar_start_in_order(space: Space) -> None:
    assert within(space, "cat /disk/order") == ["first", "sidecar", "second"]
    states = space.get("pod", "kitchen")["status"]["initContainerStatuses"]
    assert [sorted(status["state"]) for status in states] == [["terminated"], ["running"], ["terminated"]]


def test_names(space: Space) -> None:
    address = space.field("pod/kitchen", ".status.podIP")
    name = f"kit.sub.{space.name}.svc.cluster.local"
    assert within(space, "hostname; hostname -f; grep kit /etc/hosts") == ["kit", name, f"{address}\t{name}\tkit"]


def test_rights(space: Space) -> None:
    assert within(space, "id -u; id -g; id -G") == ["1000", "1001", "1001 2000 3000"]
    lines = within(space, "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/1/status")
    status = dict(line.split(":\t") for line in lines)
    assert {int(value, 16) for name, value in status.items() if name.startswith("Cap")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    refused = "{ touch /x || unshare -r true || kill -0 1 && ls /root; } 2>&1; true"
    assert "touch: cannot touch '/x': Read-only file system" in within(space, refused)
    plain = dict(line.split(":\t") for line in within(space, "grep -E '^(CapEff|NoNew)' /proc/1/status", "plain"))
    assert plain == {"CapEff": "00000000a80425fb", "NoNewPrivs": "0"}


def test_an_image_that_runs_as_root_where_it_must_not(space: Space) -> None:
    waiting = ".status.containerStatuses[0].state.waiting"
    space.until("pod/root-refused", f"{waiting}.reason", "CreateContainerConfigError")
    message = space.field("pod/root-refused", f"{waiting}.message")
    assert message.startswith("container has runAsNonRoot and image will run as root (pod: ")


def test_limits_as_cgroups(space: Space) -> None:
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        assert within(space, "cd /sys/fs/cgroup; cat memory.max cpu.max") == [str(64 << 20), "25000 100000"]
        return
    files = "memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us cpu/cpu.shares"
    assert within(space, f"cd /sys/fs/cgroup; cat {files}") == [str(64 << 20), "25000", "102"]


def topology(space: Space) -> list[str]:
    """What the pod's labels say of where it is: its node's zone and region."""
    node = space.get("pod", "kitchen")["spec"]["nodeName"]
    labels = space.region.get("node", node)["metadata"]["labels"]
    names = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone")
    return [f'{name}="{labels[name]}"' for name in names]


def test_projected_files(space: Space) -> None:
    assert within(space, "cat /about/note /about/cpu /secrets/password; echo") == ["hello100s3cret"]
    assert within(space, "cat /about/labels") == ['app="kitchen"', *topology(space)]
    assert within(space, "stat -L -c '%a %g' /secrets/password") == ["440 2000"]
    assert within(space, "cut -d. -f2 /token/vault | base64 -d 2>/dev/null | grep -o '\"vault\"'; true") == ['"vault"']
    assert within(space, "touch /settings/x 2>&1; true") == ["touch: cannot touch '/settings/x': Read-only file system"]


def test_empty_dirs_host_path_and_sub_paths(space: Space) -> None:
    within(space, "echo mine > /mine/file")
    assert within(space, "cat /disk/kitchen/file") == ["mine"]
    mounts = within(space, "grep -E ' /(memory|host) ' /proc/mounts")
    assert any(line.startswith("tmpfs /memory tmpfs") and "size=16384k" in line for line in mounts)
    assert within(space, "ls /host") == []


def test_the_token_calls_the_api_server(space: Space) -> None:
    assert within(space, CALL + "pods; echo; " + CALL + "secrets; echo") == ["200", "403"]
    # The default account may do nothing, but is known.
    assert within(space, CALL + "pods", "plain") == ["403"]
    anonymous = (
        "curl -sSk -m 5 -o /dev/null -w '%{http_code}' -H 'Authorization: Bearer x' https://kubernetes.default/api"
    )
    assert within(space, anonymous) == ["401"]


def test_changes_of_config_maps_secrets_and_labels_arrive(space: Space) -> None:
    space.kubectl("patch", "configmap", "settings", "-p", '{"data":{"color":"blue","app.conf":"v=2"}}')
    space.kubectl("patch", "secret", "secrets", "-p", '{"stringData":{"password":"changed"}}')
    space.kubectl("label", "pod", "kitchen", "tier=back")
    read = "cat /settings/color /secrets/password /about/labels"
    wanted = ['bluechangedapp="kitchen"', 'tier="back"', *topology(space)]
    eventually(lambda: within(space, read) == wanted, "the files change")
    # Neither a subPath nor the environment follows.
    assert within(space, "cat /one/app.conf; echo; echo $COLOR") == ["v=1", "red"]


def test_empty_dirs_outlive_a_container(space: Space) -> None:
    within(space, "echo disk > /disk/kept; echo memory > /memory/kept; kill -TERM 1")
    status = "{.status.containerStatuses[?(@.name=='main')].restartCount}"
    space.kubectl("wait", "pod/kitchen", f"--for=jsonpath={status}=1", "--timeout=180s")
    space.ready("kitchen")
    assert within(space, "cat /disk/kept /memory/kept /one/app.conf; echo; echo $COLOR") == [
        "disk",
        "memory",
        "v=2",
        "blue",
    ]
    assert space.get("pod", "kitchen")["status"]["initContainerStatuses"][0]["restartCount"] == 0


def test_a_node_says_what_it_is(space: Space) -> None:
    for node in space.region.get("nodes")["items"]:
        status = node["status"]
        conditions = {each["type"]: each["status"] for each in status["conditions"]}
        pressures = dict.fromkeys(("MemoryPressure", "DiskPressure", "PIDPressure"), "False")
        assert conditions == {**pressures, "Ready": "True"}
        assert status["capacity"]["cpu"] == "2"
        # An m5.large: three interfaces of ten addresses; see EKS's table of pods per instance type.
        assert status["capacity"]["pods"] == status["allocatable"]["pods"] == "29"
        assert status["allocatable"]["cpu"] == "1930m"
        assert kibibytes(status["allocatable"]["memory"]) < kibibytes(status["capacity"]["memory"]) <= 8 << 20
        assert status["nodeInfo"]["containerRuntimeVersion"].startswith("containerd://")
        assert node["spec"]["providerID"].startswith("aws:///us-west-2a/i-")
        assert any("busybox:1" in name for image in status["images"] for name in image["names"])
        lease = space.region.get("-n", "kube-node-lease", "lease", node["metadata"]["name"])
        assert lease["spec"]["holderIdentity"] == node["metadata"]["name"]


def kibibytes(quantity: str) -> int:
    for suffix, factor in (("Ki", 1), ("Mi", 1024), ("Gi", 1 << 20)):
        if quantity.endswith(suffix):
            return int(quantity.removesuffix(suffix)) * factor
    return int(quantity) // 1024


STATIC = """
apiVersion: v1
kind: Pod
metadata: {name: fixed, namespace: %s}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: "busybox:1", command: [sleep, inf]}]
"""
KEEPER = """
apiVersion: v1
kind: Pod
metadata: {name: keeper}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: main, image: "busybox:1", command: [sleep, inf], volumeMounts: [{name: static, mountPath: /static}]}
  volumes: [{name: static, hostPath: {path: /etc/kubernetes/manifests, type: DirectoryOrCreate}}]
"""


def uid(space: Space, pod: str) -> str:
    """Empty when it is not there."""
    return space.kubectl("get", "pod", pod, "--ignore-not-found", "-o", "jsonpath={.metadata.uid}")


def test_a_static_pod_is_its_file(space: Space) -> None:
    space.kubectl("apply", "-f", "-", stdin=KEEPER)
    space.ready("keeper")
    space.kubectl("exec", "-i", "keeper", "--", "sh", "-c", "cat > /static/fixed.yaml", stdin=STATIC % space.name)
    node = space.field("pod/keeper", ".spec.nodeName")
    mirror = f"fixed-{node}"
    try:
        eventually(lambda: space.attempt("get", "pod", mirror).returncode == 0, "its mirror is there")
        space.ready(mirror)
        assert space.get("pod", mirror)["metadata"]["ownerReferences"][0]["kind"] == "Node"
        before = space.field(f"pod/{mirror}", ".status.containerStatuses[0].containerID")
        first = uid(space, mirror)
        space.kubectl("delete", "pod", mirror, "--wait=false")
        eventually(lambda: uid(space, mirror) not in ("", first), "it is made again")
        space.ready(mirror)
        assert space.field(f"pod/{mirror}", ".status.containerStatuses[0].containerID") == before
    finally:
        space.run("keeper", "rm", "-f", "/static/fixed.yaml")
    eventually(lambda: space.attempt("get", "pod", mirror).returncode != 0, "its mirror is gone")
