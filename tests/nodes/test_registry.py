"""ECR on real nodes: pulled with the password of the node's role, refused where its policies do not allow it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.nodes.space import Space

ECR = "123456789012.dkr.ecr.us-west-2.amazonaws.com"
REPOSITORY = "arn:aws:ecr:us-west-2:123456789012:repository/team/secret"
POD = """
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  terminationGracePeriodSeconds: 0
  restartPolicy: Never
  containers: [{name: c, image: "IMAGE", command: [sleep, inf]}]
"""


def start(space: Space, name: str, image: str) -> None:
    space.kubectl("apply", "-f", "-", stdin=POD.replace("NAME", name).replace("IMAGE", image))


@pytest.fixture
def refusal(space: Space) -> Iterator[None]:
    """The nodes' role may not pull one repository."""
    group = space.region.client("eks").describe_nodegroup(clusterName="real", nodegroupName="ng")["nodegroup"]
    role = group["nodeRole"].rpartition("/")[2]
    iam = space.region.client("iam")
    statement = {"Effect": "Deny", "Action": "ecr:BatchGetImage", "Resource": REPOSITORY}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName=role, PolicyName="refusal", PolicyDocument=document)
    yield
    iam.delete_role_policy(RoleName=role, PolicyName="refusal")


def test_nodes_pull_from_ecr_with_their_role(space: Space, refusal: None) -> None:
    del refusal
    for name in ("team/app", "team/secret"):
        space.region.aws("ecr", "create-repository", "--repository-name", name)
        space.region.run("twinplane", "image", "tag", "busybox:1", f"{ECR}/{name}:1")
    start(space, "allowed", f"{ECR}/team/app:1")
    space.ready("allowed")
    start(space, "refused", f"{ECR}/team/secret:1")
    (message,) = space.events("refused", "Failed to pull image")[:1]
    assert f'failed to resolve reference "{ECR}/team/secret:1"' in message
    assert message.endswith("403 Forbidden")
    reason = space.get("pod", "refused")["status"]["containerStatuses"][0]["state"]["waiting"]["reason"]
    assert reason in ("ErrImagePull", "ImagePullBackOff")
