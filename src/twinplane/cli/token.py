"""`twinplane token --cluster NAME`: an ExecCredential with an EKS IAM token, for the kubeconfig.

kubectl runs this before every command, so it imports nothing heavy. The token is `k8s-aws-v1.` + base64url, without
padding, of a presigned STS GetCallerIdentity URL (aws-iam-authenticator's README).
"""

from __future__ import annotations

import base64
import json
import os
import time

from twinplane.cli.region_access import RegionAccess
from twinplane.sigv4 import Signer

LIFETIME_SECONDS = 60
"""Of the URL's own signature; EKS accepts the token for fifteen minutes from its date."""
VALID_SECONDS = 14 * 60


def exec_credential(access: RegionAccess, cluster: str, now: float) -> str:
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + VALID_SECONDS))
    api_version = "client.authentication.k8s.io/v1beta1"
    asked = os.environ.get("KUBERNETES_EXEC_INFO")
    if asked:
        api_version = json.loads(asked).get("apiVersion", api_version)
    status = {"expirationTimestamp": expires, "token": iam_token(access, cluster, now)}
    return json.dumps({"kind": "ExecCredential", "apiVersion": api_version, "spec": {}, "status": status})


def iam_token(access: RegionAccess, cluster: str, now: float) -> str:
    url = presigned_identity_url(access, cluster, now)
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def presigned_identity_url(access: RegionAccess, cluster: str, now: float) -> str:
    """A GetCallerIdentity request whose signature covers the header `x-k8s-aws-id: CLUSTER`."""
    settings = access.settings
    signer = Signer(access.access_key_id, access.secret_access_key, access.session_token, settings.region, "sts")
    parameters = {"Action": "GetCallerIdentity", "Version": "2011-06-15"}
    headers = {"x-k8s-aws-id": cluster}
    return signer.presigned_url(settings.endpoint_url + "/", parameters, headers, LIFETIME_SECONDS, now)
