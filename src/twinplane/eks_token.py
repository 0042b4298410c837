"""EKS bearer tokens: `k8s-aws-v1.` and, in base64url without padding, a presigned STS GetCallerIdentity URL.

Made by whoever speaks to a cluster under an IAM identity (`twinplane token`, the nodes). Source: the README of
aws-iam-authenticator.
"""

from __future__ import annotations

import base64

from twinplane.sigv4 import Signer

LIFETIME_SECONDS = 60
"""Of the URL's own signature; EKS accepts the token for fifteen minutes from its date."""
VALID_SECONDS = 14 * 60


def iam_token(signer: Signer, endpoint: str, cluster: str, now: float) -> str:
    """`signer` is for the service `sts`; `endpoint` is the URL of STS that is signed. The signature covers the header
    `x-k8s-aws-id: CLUSTER`."""
    parameters = {"Action": "GetCallerIdentity", "Version": "2011-06-15"}
    url = signer.presigned_url(endpoint + "/", parameters, {"x-k8s-aws-id": cluster}, LIFETIME_SECONDS, now)
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")
