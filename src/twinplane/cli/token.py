"""`twinplane token --cluster NAME`: an ExecCredential with an EKS IAM token, for the kubeconfig.

kubectl runs this before every command, so it imports nothing heavy: the presigned STS URL that the token consists of is
signed here in a few lines. Form: `k8s-aws-v1.` + base64url of the URL without padding (aws-iam-authenticator's README);
signature: AWS Signature Version 4, query parameters.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import time
from urllib.parse import quote, urlsplit

from twinplane.cli.region_access import RegionAccess

LIFETIME_SECONDS = 60
"""Of the URL's own signature; EKS accepts the token for fifteen minutes from its date."""
VALID_SECONDS = 14 * 60
_EMPTY = hashlib.sha256(b"").hexdigest()


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
    moment = time.gmtime(now)
    stamp, day = time.strftime("%Y%m%dT%H%M%SZ", moment), time.strftime("%Y%m%d", moment)
    scope = f"{day}/{settings.region}/sts/aws4_request"
    parameters = {
        "Action": "GetCallerIdentity",
        "Version": "2011-06-15",
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{access.access_key_id}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(LIFETIME_SECONDS),
        "X-Amz-SignedHeaders": "host;x-k8s-aws-id",
    }
    if access.session_token:
        parameters["X-Amz-Security-Token"] = access.session_token
    query = "&".join(
        f"{quote(key, safe='-_.~')}={quote(value, safe='-_.~')}" for key, value in sorted(parameters.items())
    )
    host = urlsplit(settings.endpoint_url).netloc
    headers = f"host:{host}\nx-k8s-aws-id:{cluster}\n"
    canonical = "\n".join(("GET", "/", query, headers, "host;x-k8s-aws-id", _EMPTY))
    to_sign = "\n".join(("AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{access.secret_access_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    return f"{settings.endpoint_url}/?{query}&X-Amz-Signature={signature}"
