"""A subnet without free addresses: pods wait with the VPC CNI's own message, and start when one comes free.

A /28 has eleven addresses: the node takes one, a further interface another one, and pods have the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.nodes.space import Space
from tests.region_process import RegionProcess, eventually

CLUSTER, GROUP = "real", "small"
MESSAGE = 'plugin type="aws-cni" name="aws-cni" failed (add): add cmd: failed to assign an IP address to container'
BEGINNING = 'Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "'


@pytest.fixture(scope="module")
def subnet(real_region: RegionProcess) -> Iterator[str]:
    """Id of a /28 with a node in it, which only pods that tolerate its taint get to."""
    eks, ec2 = real_region.client("eks"), real_region.client("ec2")
    vpc = eks.describe_cluster(name=CLUSTER)["cluster"]["resourcesVpcConfig"]["vpcId"]
    made = ec2.create_subnet(VpcId=vpc, CidrBlock="192.168.200.0/28", AvailabilityZone="us-west-2a")
    found = str(made["Subnet"]["SubnetId"])
    eks.create_nodegroup(
        clusterName=CLUSTER,
        nodegroupName=GROUP,
        subnets=[found],
        nodeRole=eks.describe_nodegroup(clusterName=CLUSTER, nodegroupName="ng")["nodegroup"]["nodeRole"],
        scalingConfig={"minSize": 1, "maxSize": 1, "desiredSize": 1},
        instanceTypes=["m5.large"],
        labels={"twinplane.io/runtime": "containerd"},
        taints=[{"key": "place", "value": GROUP, "effect": "NO_SCHEDULE"}],
    )
    try:
        selector = f"eks.amazonaws.com/nodegroup={GROUP}"
        eventually(lambda: real_region.get("nodes", "-l", selector)["items"], "the node of the small subnet")
        real_region.kubectl("wait", "--for=condition=Ready", "node", "-l", selector, "--timeout=180s")
        yield found
    finally:
        real_region.run("twinplane", "delete", "nodegroup", "--cluster", CLUSTER, "--name", GROUP)


def pods(name: str, replicas: int) -> str:
    labels = {"app": name}
    container = {"name": "c", "image": "busybox:1", "command": ["sleep", "inf"]}
    spec = {
        "nodeSelector": {"eks.amazonaws.com/nodegroup": GROUP},
        "tolerations": [{"key": "place", "operator": "Exists"}],
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
    }
    return json.dumps(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        }
    )


@pytest.mark.timeout(900)
def test_pods_wait_for_addresses_and_get_them(space: Space, subnet: str) -> None:
    ec2 = space.region.client("ec2")
    free = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["AvailableIpAddressCount"]
    # What the CNI has taken to keep warm is the node's already; the rest goes to somebody else of the VPC.
    interface = ""
    if free:
        made = ec2.create_network_interface(SubnetId=subnet, SecondaryPrivateIpAddressCount=free - 1)
        interface = made["NetworkInterface"]["NetworkInterfaceId"]
    try:
        space.kubectl("apply", "-f", "-", stdin=pods("first", 11))

        def running(app: str) -> int:
            items = space.get("pods", "-l", f"app={app}", "--field-selector", "status.phase=Running")["items"]
            return len(items)

        def full() -> bool:
            return bool(ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["AvailableIpAddressCount"] == 0)

        eventually(lambda: running("first") >= 8 and full(), "the subnet is full")
        waiting = space.get("pods", "-l", "app=first", "--field-selector", "status.phase=Pending")["items"]
        assert waiting
        for pod in waiting:
            reason = pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"]
            assert (reason, pod["status"].get("podIP")) == ("ContainerCreating", None)
        message = space.events(waiting[0]["metadata"]["name"], MESSAGE)[0]
        assert message.startswith(BEGINNING), message
        assert message.endswith(MESSAGE), message
    finally:
        if interface:
            ec2.delete_network_interface(NetworkInterfaceId=interface)
    # Half of them go: others take their addresses after their cool-down of 30 s, and nobody has to do anything.
    space.kubectl("apply", "-f", "-", stdin=pods("second", 3))
    space.kubectl("scale", "deployment/first", "--replicas=5")
    space.kubectl("rollout", "status", "deployment/first", "deployment/second", "--timeout=180s")
    addresses = {pod["status"]["podIP"] for pod in space.get("pods")["items"]}
    assert len(addresses) == 8
    assert all(address.startswith("192.168.200.") for address in addresses)
