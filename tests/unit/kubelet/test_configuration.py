"""What containers and sandboxes are given: environment, DNS, names, security, resources. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cri_api.v1 import api_pb2 as cri
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kubelet.node import configuration, pod_object
from twinplane.dataplane.kubelet.containers import cgroups as cgroups_module
from twinplane.dataplane.kubelet.containers.cgroups import Cgroups
from twinplane.dataplane.kubelet.containers.dns import Resolver, parse_resolv_conf, pod_dns
from twinplane.dataplane.kubelet.containers.environment import Surroundings, environment
from twinplane.dataplane.kubelet.containers.errors import ContainerRefused
from twinplane.dataplane.kubelet.containers.expansion import expand
from twinplane.dataplane.kubelet.containers.hostname import host_names, hosts_file, sandbox_hostname
from twinplane.dataplane.kubelet.containers.resources import container_resources, pod_requests, qos_class
from twinplane.dataplane.kubelet.containers.sandbox import sandbox_config
from twinplane.dataplane.kubelet.containers.security import check_non_root, container_security
from twinplane.dataplane.kubelet.images.names import parse_image, with_default_tag
from twinplane.dataplane.kubelet.node.objects import allocatable
from twinplane.dataplane.kubelet.status.patch import pruned, status_patch
from twinplane.kubeclient.contract import Object

HOST = Resolver(("10.0.0.2",), ("ec2.internal",), ("edns0",))


def pod(**spec: Any) -> Object:
    made = pod_object("web-0", **spec)
    made["metadata"]["uid"] = "uid-1"
    return made


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("$$(A)", "$(A)"),
        ("$(NONE)", "$(NONE)"),
        ("x$(A)y$(B)", "x1y2"),
        ("$A", "$A"),
        ("$$$(A)", "$1"),
        ("$(", "$("),
    ],
)
def test_expansion(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expected


@given(st.text(alphabet="$()AB x"))
def test_expansion_without_references_is_the_identity(text: str) -> None:
    assert expand(text.replace("$", ""), {"A": "1"}) == text.replace("$", "")


class Objects:
    async def get(self, resource: str, namespace: str, name: str) -> Object | None:
        if (resource, name) == ("configmaps", "conf"):
            return {"data": {"a": "1", "b": "2"}}
        return {"data": {"token": "c2VjcmV0"}} if (resource, name) == ("secrets", "keys") else None


async def test_environment() -> None:
    service = {
        "metadata": {"name": "my-db", "namespace": "default"},
        "spec": {"clusterIP": "10.100.1.1", "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}]},
    }
    container = {
        "name": "main",
        "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}},
        "envFrom": [
            {"configMapRef": {"name": "conf"}, "prefix": "C_"},
            {"secretRef": {"name": "no", "optional": True}},
        ],
        "env": [
            {"name": "HOST", "value": "$(MY_DB_SERVICE_HOST):$(C_a)"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
            {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "NONE", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "no", "optional": True}}},
        ],
    }
    around = Surroundings(("10.0.0.9",), ("192.168.1.7",), {"cpu": "2"}, [service])
    made = await environment(pod(), container, around, Objects())
    wanted = {"HOST": "10.100.1.1:1", "TOKEN": "secret", "CPUS": "2", "MEM": "64", "IP": "10.0.0.9", "C_b": "2"}
    assert {key: made[key] for key in wanted} == wanted
    assert "NONE" not in made
    assert made["MY_DB_PORT_5432_TCP_ADDR"] == "10.100.1.1"
    missing = {"name": "x", "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "no"}}}]}
    with pytest.raises(ContainerRefused, match="couldn't find key no in Secret default/keys"):
        await environment(pod(), missing, around, Objects())


def test_dns() -> None:
    config = pod_dns(pod(), HOST, "10.100.0.10", "cluster.local").config
    assert list(config.servers) == ["10.100.0.10"]
    assert list(config.searches) == ["default.svc.cluster.local", "svc.cluster.local", "cluster.local", "ec2.internal"]
    assert list(config.options) == ["ndots:5"]
    assert list(pod_dns(pod(hostNetwork=True), HOST, "10.100.0.10", "c").config.servers) == ["10.0.0.2"]
    kept = pod_dns(pod(hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet"), HOST, "10.100.0.10", "c").config
    assert list(kept.servers) == ["10.100.0.10"]
    own = {"nameservers": ["1.1.1.1"], "searches": ["x"], "options": [{"name": "ndots", "value": "2"}]}
    none = pod_dns(pod(dnsPolicy="None", dnsConfig=own), HOST, "10.100.0.10", "c").config
    assert (list(none.servers), list(none.searches), list(none.options)) == (["1.1.1.1"], ["x"], ["ndots:2"])
    many = {"nameservers": ["1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"], "searches": [f"s{i}" for i in range(40)]}
    limited = pod_dns(pod(dnsPolicy="None", dnsConfig=many), HOST, "", "c")
    assert (len(limited.config.servers), len(limited.config.searches), len(limited.warnings)) == (3, 32, 2)
    assert parse_resolv_conf("nameserver 1.2.3.4\nsearch a. b\noptions x y # z\n") == Resolver(
        ("1.2.3.4",), ("a", "b"), ("x", "y")
    )


def test_names() -> None:
    named = pod(hostname="db", subdomain="peers", setHostnameAsFQDN=True)
    names = host_names(named, "cluster.local")
    assert sandbox_hostname(named, names) == "db.peers.default.svc.cluster.local"
    text = hosts_file(named, names, ["10.0.0.9"], None)
    assert "10.0.0.9\tdb.peers.default.svc.cluster.local\tdb\n" in text
    aliased = pod(hostAliases=[{"ip": "1.2.3.4", "hostnames": ["a", "b"]}])
    assert hosts_file(aliased, host_names(aliased, "c"), [], "x\n").endswith("1.2.3.4\ta\tb\n")


def test_security() -> None:
    container = {"name": "main", "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}, "runAsNonRoot": True}}
    body = pod_object("web", [container], securityContext={"runAsUser": 5})
    body["metadata"]["uid"] = "u"
    made = container_security(body, container, cri.Image(id="x"))
    assert made.run_as_user.value == 5
    assert list(made.capabilities.add_capabilities) == ["NET_ADMIN"]
    assert made.masked_paths
    root = pod_object("web", [container])
    root["metadata"]["uid"] = "u"
    image = cri.Image(id="x")
    image.uid.value = 0
    with pytest.raises(ContainerRefused, match="image will run as root"):
        check_non_root(root, container, image)
    with pytest.raises(ContainerRefused, match=r"non-numeric user \(app\)"):
        check_non_root(root, container, cri.Image(id="x", username="app"))


def test_resources_and_qos() -> None:
    small = {"requests": {"cpu": "100m", "memory": "64Mi"}}
    full = {"limits": {"cpu": "1", "memory": "1Gi"}}
    inits = [
        {"name": "init", "resources": {"requests": {"cpu": "2"}}},
        {"name": "side", "restartPolicy": "Always", "resources": small},
    ]
    body = pod_object("web", [{"name": "main", "resources": full}], initContainers=inits, overhead={"cpu": "50m"})
    body["metadata"]["uid"] = "u"
    assert pod_requests(body)["cpu"] == 2050
    assert qos_class(body) == "Burstable"
    alone = pod_object("web", [{"name": "main", "resources": full}])
    assert qos_class(alone) == "Guaranteed"
    made = container_resources(alone, alone["spec"]["containers"][0], 8 << 30, unified=False)
    assert (made.cpu_shares, made.cpu_quota, made.memory_limit_in_bytes) == (1024, 100_000, 1 << 30)
    assert made.oom_score_adj == -997
    config = sandbox_config(body, 0, "web", cri.DNSConfig(), "/kubepods/x")
    assert config.labels["io.kubernetes.pod.name"] == "web"


@pytest.mark.parametrize("unified", [False, True])
def test_cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unified: bool) -> None:
    if unified:
        for name in ("", "n", "n/kubepods", "n/kubepods/burstable", "n/kubepods/besteffort", "n/kubepods/poduid-1"):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "cgroup.controllers").write_text("cpu memory pids")
            (tmp_path / name / "cgroup.subtree_control").write_text("")
    else:
        for name in cgroups_module.V1_CONTROLLERS:
            (tmp_path / name).mkdir()
        (tmp_path / "cpuset" / "cpuset.cpus").write_text("0-1")
        (tmp_path / "cpuset" / "cpuset.mems").write_text("0")
    groups = Cgroups("/n", root=tmp_path, pids_max=100)
    assert groups.unified is unified
    groups.prepare()
    resources = {"limits": {"cpu": "500m", "memory": "64Mi"}}
    body = pod_object("web", [{"name": "main", "resources": resources}])
    body["metadata"]["uid"] = "uid-1"
    groups.apply(body)
    assert groups.path(body) == "/n/kubepods/poduid-1"
    assert groups.uids() == {"uid-1"}
    if unified:
        assert (tmp_path / "n/kubepods/poduid-1/cpu.max").read_text() == "50000 100000"
        assert (tmp_path / "n/kubepods/poduid-1/memory.max").read_text() == str(64 << 20)
    else:
        assert (tmp_path / "cpu/n/kubepods/poduid-1/cpu.cfs_quota_us").read_text() == "50000"
        assert (tmp_path / "pids/n/kubepods/poduid-1/pids.max").read_text() == "100"
        assert (tmp_path / "cpuset/n/kubepods/poduid-1/cpuset.cpus").read_text() == "0-1"


@pytest.mark.parametrize(
    ("written", "full"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("team/app:1", "docker.io/team/app:1"),
        ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
        ("r.example/a@sha256:" + "0" * 64, "r.example/a@sha256:" + "0" * 64),
    ],
)
def test_image_names(written: str, full: str) -> None:
    assert parse_image(written).full == full
    assert parse_image(with_default_tag(written)).full == full


@pytest.mark.parametrize("bad", ["", "UPPER", "a b", "x:y:z", "-a"])
def test_bad_image_names(bad: str) -> None:
    with pytest.raises(ValueError, match="invalid reference format"):
        parse_image(bad)


def test_allocatable_follows_the_configuration() -> None:
    assert allocatable(configuration())["cpu"] == "1930m"
    given = configuration(kubelet={"kubeReserved": {"cpu": "500m"}, "evictionHard": {"memory.available": "50%"}})
    assert allocatable(given)["cpu"] == "1500m"
    assert int(allocatable(given)["memory"][:-2]) < 4 * 1024 * 1024


CONDITIONS = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["Ready", "Initialized", "other.example/x"]),
            "status": st.sampled_from(["True", "False"]),
        },
        optional={"reason": st.text(min_size=1, max_size=3)},
    ),
    unique_by=lambda item: item["type"],
)


@given(CONDITIONS, CONDITIONS)
def test_a_patch_leaves_other_conditions_alone(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> None:
    ours = [item for item in new if item["type"] != "other.example/x"]
    patch = status_patch({"conditions": old}, {"conditions": ours})
    assert all(item["type"] != "other.example/x" for item in patch.get("conditions", ()))
    assert status_patch({"conditions": ours}, {"conditions": ours}) == {}
    assert pruned({"a": None, "b": {}, "c": [{"d": ""}]}) == {"c": [{}]}
