"""`twinplane token --cluster NAME`: an ExecCredential with an EKS IAM token, for the kubeconfig.

kubectl runs this before every command, so it imports nothing heavy.
"""

from __future__ import annotations

import json
import os
import time

from twinplane.cli.region_access import RegionAccess
from twinplane.eks_token import VALID_SECONDS, iam_token
from twinplane.sigv4 import Signer


def exec_credential(access: RegionAccess, cluster: str, now: float) -> str:
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + VALID_SECONDS))
    api_version = "client.authentication.k8s.io/v1beta1"
    asked = os.environ.get("KUBERNETES_EXEC_INFO")
    if asked:
        api_version = json.loads(asked).get("apiVersion", api_version)
    status = {"expirationTimestamp": expires, "token": access_token(access, cluster, now)}
    return json.dumps({"kind": "ExecCredential", "apiVersion": api_version, "spec": {}, "status": status})


def access_token(access: RegionAccess, cluster: str, now: float) -> str:
    settings = access.settings
    signer = Signer(access.access_key_id, access.secret_access_key, access.session_token, settings.region, "sts")
    return iam_token(signer, settings.endpoint_url, cluster, now)
