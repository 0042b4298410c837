"""The add-ons of a new cluster are what the API server takes, and fit together."""

from __future__ import annotations

from twinplane.controlplane.addons.bootstrap import objects
from twinplane.dataplane.network.dns.corefile import parse


def test_coredns_stands_behind_the_tenth_service_address() -> None:
    found = {(each["kind"], each["metadata"]["name"]): each for each in objects("eu-west-1", "172.20.0.0/16")}
    service = found["Service", "kube-dns"]
    deployment = found["Deployment", "coredns"]
    assert service["spec"]["clusterIP"] == "172.20.0.10"
    template = deployment["spec"]["template"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    assert deployment["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
    container = template["spec"]["containers"][0]
    assert container["image"].startswith("602401143452.dkr.ecr.eu-west-1.amazonaws.com/eks/coredns:v")
    assert ("ServiceAccount", template["spec"]["serviceAccountName"]) in found


def test_its_corefile_is_one_that_the_server_reads() -> None:
    found = {(each["kind"], each["metadata"]["name"]): each for each in objects("us-west-2", "10.100.0.0/16")}
    corefile = parse(found["ConfigMap", "coredns"]["data"]["Corefile"])
    assert corefile.cluster_zones == ["cluster.local."]
