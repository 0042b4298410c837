"""Pods with AWS identity on real nodes: IRSA, EKS Pod Identity, instance metadata; each makes signed AWS calls.

The programs run in the image of the cluster's DNS, which brings this interpreter, with this environment's botocore
mounted: the AWS SDK finds its credentials as it does in any pod on EKS.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore
import pytest

from tests.nodes.applications import PYTHON, SLEEPER, apply, image
from tests.region_process import RegionProcess, eventually

SITE = str(Path(botocore.__file__).parents[1])
CLUSTER = "real"
READ_ONLY = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
REGION = [{"name": "AWS_DEFAULT_REGION", "value": "us-west-2"}]
ENDPOINT = [{"name": "AWS_ENDPOINT_URL", "value": "http://169.254.169.252"}]
AGENT = "http://169.254.170.23/v1/credentials"
TOKENS = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"

SDK = """
import botocore.session, os, sys
from botocore.config import Config
CONFIG = Config(connect_timeout=2, read_timeout=20, retries={"max_attempts": 0})
def call(service, operation, **arguments):
    try:
        client = botocore.session.get_session().create_client(service, config=CONFIG)
        return getattr(client, operation)(**arguments)
    except Exception as error:
        found = getattr(error, "response", {}).get("Error", {}).get("Code")
        return {"Arn": found or type(error).__name__}
"""
WHO = SDK + 'print(call("sts", "get_caller_identity")["Arn"])'
ASSUME = (
    SDK
    + """
token = open(os.environ["AWS_WEB_IDENTITY_TOKEN_FILE"]).read()
del os.environ["AWS_ROLE_ARN"], os.environ["AWS_WEB_IDENTITY_TOKEN_FILE"]
other = {"RoleArn": sys.argv[1], "RoleSessionName": "test", "WebIdentityToken": token}
answer = call("sts", "assume_role_with_web_identity", **other)
print(answer.get("AssumedRoleUser", answer)["Arn"])
"""
)
ASK = """
import sys, urllib.error, urllib.request
request = urllib.request.Request(sys.argv[1], headers={"Authorization": open(sys.argv[2]).read()})
try:
    print(urllib.request.urlopen(request, timeout=20).status)
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
"""
METADATA = """
import http.client, sys
connection = http.client.HTTPConnection("169.254.169.254", timeout=float(sys.argv[1]))
try:
    connection.request("PUT", "/latest/api/token", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    token = connection.getresponse().read().decode()
    connection.request("GET", "/latest/meta-data/instance-id", headers={"X-aws-ec2-metadata-token": token})
    print(connection.getresponse().read().decode())
    connection.request("GET", "/latest/meta-data/instance-id")
    answer = connection.getresponse()
    print(answer.status)
except TimeoutError:
    print("no answer")
"""


@pytest.fixture(scope="module")
def pods(real_region: RegionProcess) -> Iterator[Pods]:
    real_region.kubectl("create", "namespace", "identity")
    yield Pods(real_region, "identity")
    real_region.kubectl("delete", "namespace", "identity", "--wait=false")


class Pods:
    """In the module's namespace."""

    def __init__(self, region: RegionProcess, namespace: str) -> None:
        self.region = region
        self.namespace = namespace
        self._image = image(region)

    def start(self, name: str, env: list[dict[str, str]], **spec: Any) -> None:
        volumes = [{"name": "site", "hostPath": {"path": SITE}}, *spec.pop("volumes", ())]
        mounts = [{"name": "site", "mountPath": SITE, "readOnly": True}, *spec.pop("mounts", ())]
        container = {
            "name": "c",
            "image": self._image,
            "command": [PYTHON, "-c", SLEEPER],
            "env": [{"name": "PYTHONPATH", "value": SITE}, *env],
            "volumeMounts": mounts,
        }
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [container], "volumes": volumes, **spec},
        }
        apply(self.region, pod)
        self.region.kubectl("-n", self.namespace, "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=180s")

    def run(self, pod: str, program: str, *arguments: str) -> str:
        command = ("-n", self.namespace, "exec", pod, "--", PYTHON, "-c", program, *arguments)
        return self.region.kubectl(*command).strip()


def role_of(arn: str) -> str:
    """`arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION` -> ROLE."""
    assert ":assumed-role/" in arn, arn
    return arn.split("/")[1]


def role(region: RegionProcess, name: str, service: str) -> str:
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": service}, "Action": ["sts:AssumeRole", "sts:TagSession"]}
        ],
    }
    made = region.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    return str(made["Role"]["Arn"])


def test_a_service_account_has_its_role_and_no_other(real_region: RegionProcess, pods: Pods) -> None:
    """IRSA, made with the commands that eksctl's users know."""
    create = ("twinplane", "create", "iamserviceaccount", "--cluster", CLUSTER, "--namespace", pods.namespace)
    refused = real_region.attempt(*create, "--name", "reader", "--attach-policy-arn", READ_ONLY, "--approve")
    assert refused.returncode == 1
    assert "without IAM OIDC provider enabled" in refused.stderr
    associate = ("twinplane", "utils", "associate-iam-oidc-provider", "--cluster", CLUSTER)
    assert "(plan) would create" in real_region.run(*associate)
    assert "created IAM Open ID Connect provider" in real_region.run(*associate, "--approve")
    assert "already associated" in real_region.run(*associate, "--approve")
    for name in ("reader", "other"):
        real_region.run(*create, "--name", name, "--attach-policy-arn", READ_ONLY, "--approve")
    accounts = {name: real_region.get("-n", pods.namespace, "serviceaccount", name) for name in ("reader", "other")}
    arns = {name: found["metadata"]["annotations"]["eks.amazonaws.com/role-arn"] for name, found in accounts.items()}
    pods.start("irsa", [], serviceAccountName="reader")
    assert role_of(pods.run("irsa", WHO)) == arns["reader"].rpartition("/")[2]
    assert pods.run("irsa", ASSUME, arns["other"]) == "AccessDenied"
    rows = [{"Namespace": pods.namespace, "Name": name, "RoleArn": arn} for name, arn in sorted(arns.items())]
    listed = real_region.run("twinplane", "get", "iamserviceaccount", "--cluster", CLUSTER, "-o", "json")
    assert sorted(json.loads(listed), key=lambda row: row["Name"]) == rows
    delete = ("twinplane", "delete", "iamserviceaccount", "--cluster", CLUSTER, "--namespace", pods.namespace)
    real_region.run(*delete, "--name", "other")
    assert "not found" in real_region.attempt(*delete, "--name", "other").stderr
    assert pods.run("irsa", ASSUME, arns["reader"]).endswith("/test")


def test_pod_identity_has_its_role_and_no_other(real_region: RegionProcess, pods: Pods) -> None:
    arn = role(real_region, "pod-identity-role", "pods.eks.amazonaws.com")
    real_region.run(
        *("twinplane", "create", "podidentityassociation", "--cluster", CLUSTER, "--namespace", pods.namespace),
        *("--service-account-name", "associated", "--role-arn", arn, "--create-service-account"),
    )
    token = {"serviceAccountToken": {"audience": "pods.eks.amazonaws.com", "path": "token"}}
    volumes = [{"name": "token", "projected": {"sources": [token]}}]
    mounts = [{"name": "token", "mountPath": "/token", "readOnly": True}]

    def injected() -> bool:
        """The control plane hears of associations by asking for them."""
        found = real_region.get("-n", pods.namespace, "pod", "identity")["spec"]["containers"][0]["env"]
        return any(entry.get("value") == AGENT for entry in found)

    pods.start("identity", [], serviceAccountName="associated")
    assert injected()
    assert role_of(pods.run("identity", WHO)) == "pod-identity-role"
    # Another account's token is worth nothing, whatever address it is brought to.
    pods.start("stranger", [], volumes=volumes, mounts=mounts)
    assert pods.run("stranger", ASK, AGENT, "/token/token").startswith("404 No pod identity association found")
    assert pods.run("identity", ASK, AGENT, f"{TOKENS}/eks-pod-identity-token") == "200"
    get = ("twinplane", "get", "podidentityassociation", "--cluster", CLUSTER)
    assert arn in real_region.run(*get)
    real_region.run(
        *("twinplane", "delete", "podidentityassociation", "--cluster", CLUSTER, "--namespace", pods.namespace),
        *("--service-account-name", "associated"),
    )
    assert arn not in real_region.run(*get)


@pytest.fixture(scope="module")
def node(real_region: RegionProcess) -> Iterator[tuple[str, str]]:
    """(name of a node, its instance); its hop limit is as it was afterwards."""
    found = real_region.get("nodes")["items"][0]
    instance = found["spec"]["providerID"].rpartition("/")[2]
    yield found["metadata"]["name"], instance
    hops(real_region, instance, 2)


def hops(region: RegionProcess, instance: str, limit: int) -> None:
    region.client("ec2").modify_instance_metadata_options(InstanceId=instance, HttpPutResponseHopLimit=limit)


def test_instance_metadata_stops_at_its_hop_limit(
    real_region: RegionProcess, pods: Pods, node: tuple[str, str]
) -> None:
    name, instance = node
    where = {"nodeName": name}
    pods.start("metadata", REGION + ENDPOINT, **where)
    pods.start("metadata-host", REGION + ENDPOINT, hostNetwork=True, **where)
    for pod in ("metadata", "metadata-host"):
        # 401: version 2 is required of the nodes that EKS makes, so no token means no answer.
        assert pods.run(pod, METADATA, "20") == f"{instance}\n401"
        arn = pods.run(pod, WHO)
        assert "NodeInstanceRole" in role_of(arn)
        assert arn.endswith(f"/{instance}")
    hops(real_region, instance, 1)
    eventually(lambda: pods.run("metadata", METADATA, "1") == "no answer", "pods are one hop too far")
    assert pods.run("metadata", WHO) == "NoCredentialsError"
    assert pods.run("metadata-host", METADATA, "20") == f"{instance}\n401"
    hops(real_region, instance, 2)
    eventually(lambda: pods.run("metadata", METADATA, "20").startswith(instance), "pods are answered again")


def test_a_cluster_config_makes_identities(real_region: RegionProcess, tmp_path: Path) -> None:
    """`iam.serviceAccounts` and `iam.podIdentityAssociations`, and nothing of them stays after the cluster."""
    config = tmp_path / "cluster.yaml"
    config.write_text(
        f"""
apiVersion: eksctl.io/v1alpha5
kind: ClusterConfig
metadata: {{name: identities, region: us-west-2}}
iam:
  withOIDC: true
  serviceAccounts:
  - metadata: {{name: reader, namespace: backend, labels: {{aws-usage: application}}}}
    attachPolicyARNs: ["{READ_ONLY}"]
    attachPolicy:
      Version: "2012-10-17"
      Statement: [{{Effect: Allow, Action: "sqs:*", Resource: "*"}}]
  podIdentityAssociations:
  - namespace: backend
    serviceAccountName: worker
    createServiceAccount: true
    permissionPolicyARNs: ["{READ_ONLY}"]
"""
    )
    iam, eks = real_region.client("iam"), real_region.client("eks")
    before = {entry["RoleName"] for entry in iam.list_roles()["Roles"]}
    kubeconfig = str(tmp_path / "kubeconfig")
    try:
        real_region.run("twinplane", "create", "cluster", "-f", str(config), "--kubeconfig", kubeconfig)
        more = ("--kubeconfig", kubeconfig, "-n", "backend")
        account = real_region.get(*more, "serviceaccount", "reader")["metadata"]
        made = account["annotations"]["eks.amazonaws.com/role-arn"].rpartition("/")[2]
        assert account["labels"]["aws-usage"] == "application"
        assert iam.list_role_policies(RoleName=made)["PolicyNames"] == ["Policy1"]
        assert real_region.get(*more, "serviceaccount", "worker")
        (association,) = eks.list_pod_identity_associations(clusterName="identities")["associations"]
        assert (association["namespace"], association["serviceAccount"]) == ("backend", "worker")
    finally:
        real_region.run("twinplane", "delete", "cluster", "--name", "identities", "--kubeconfig", kubeconfig)
        # Each command makes its cluster the current one.
        real_region.run("twinplane", "utils", "write-kubeconfig", "--cluster", CLUSTER)
    assert {entry["RoleName"] for entry in iam.list_roles()["Roles"]} == before
    providers = [entry["Arn"] for entry in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]]
    assert len(providers) <= 1
