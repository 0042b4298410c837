"""What EKS's pod identity webhook does: pods of accounts with a role get the variables and tokens that AWS SDKs look
for.

Two ways lead to a role: an association of EKS Pod Identity, which wins, and the annotation `eks.amazonaws.com/role-
arn` of the service account (IRSA). Source: github.com/aws/amazon-eks-pod-identity-webhook, its README.
AWS_ENDPOINT_URL is added, because AWS is this region's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from twinplane.controlplane.admission.contract import AdmissionRequest, ObjectReader
from twinplane.controlplane.admission.plugin import (
    Plugin,
    annotation,
    body_of,
    concerns,
    entries,
    is_mirror,
    spec_of,
)
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import PODS, SERVICE_ACCOUNTS

ROLE = "eks.amazonaws.com/role-arn"
AUDIENCE = "eks.amazonaws.com/audience"
EXPIRATION = "eks.amazonaws.com/token-expiration"
REGIONAL = "eks.amazonaws.com/sts-regional-endpoints"
SKIPPED = "eks.amazonaws.com/skip-containers"
EXPIRATION_SECONDS = 86_400
EXPIRATION_SECONDS_MIN = 3600

IsAssociated = Callable[[str, str], Awaitable[bool]]
"""Whether a service account (namespace, name) has an association of EKS Pod Identity."""


async def nobody(namespace: str, account: str) -> bool:
    """Of a cluster without an EKS service behind it."""
    return False


@dataclass(frozen=True, slots=True)
class TokenVolume:
    """A projected service-account token, and the variables that lead to it."""

    volume: str
    directory: str
    file: str
    audience: str
    seconds: int
    variables: tuple[tuple[str, str], ...]


class PodIdentity(Plugin):
    name = "PodIdentityWebhook"
    by_type = True
    reads = (SERVICE_ACCOUNTS,)

    def __init__(self, reader: ObjectReader, region: str, endpoint: str, is_associated: IsAssociated) -> None:
        """`endpoint`: the AWS endpoint as pods reach it."""
        self._reader = reader
        self._is_associated = is_associated
        self._common = (("AWS_DEFAULT_REGION", region), ("AWS_REGION", region), ("AWS_ENDPOINT_URL", endpoint))

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, PODS, "CREATE")

    async def state(self, request: AdmissionRequest) -> bool:
        return await self._is_associated(request.namespace, spec_of(request).get("serviceAccountName") or "default")

    async def admit(self, request: AdmissionRequest) -> None:
        pod, spec = body_of(request), spec_of(request)
        name = spec.get("serviceAccountName") or "default"
        account = self._reader.get(SERVICE_ACCOUNTS, name, request.namespace)
        if account is None or is_mirror(pod):
            return
        if await self._is_associated(request.namespace, name):
            token: TokenVolume | None = _pod_identity()
        else:
            token = _web_identity(account)
        if token is not None:
            skipped = {each.strip() for each in (annotation(pod, SKIPPED) or "").split(",")}
            self._inject(spec, token, annotation(account, REGIONAL), skipped)

    def _inject(self, spec: Object, token: TokenVolume, regional: str | None, skipped: set[str]) -> None:
        sts = "regional" if regional is None or regional == "true" else "legacy"
        variables = (("AWS_STS_REGIONAL_ENDPOINTS", sts), *self._common, *token.variables)
        changed = False
        for container in entries(spec, "initContainers", "containers"):
            if container.get("name") not in skipped:
                changed |= _add_to(container, token, variables)
        if changed and all(volume.get("name") != token.volume for volume in entries(spec, "volumes")):
            source = {
                "serviceAccountToken": {
                    "audience": token.audience,
                    "expirationSeconds": token.seconds,
                    "path": token.file,
                }
            }
            volume = {"name": token.volume, "projected": {"defaultMode": 420, "sources": [source]}}
            spec["volumes"] = [volume, *entries(spec, "volumes")]


def _add_to(container: Object, token: TokenVolume, variables: tuple[tuple[str, str], ...]) -> bool:
    """A container that names where its credentials come from keeps what it says."""
    present = {variable.get("name") for variable in entries(container, "env")}
    if any(name in present for name, _ in token.variables):
        return False
    added = [{"name": name, "value": value} for name, value in variables if name not in present]
    container["env"] = [*entries(container, "env"), *added]
    mounts = entries(container, "volumeMounts")
    if all(mount.get("name") != token.volume for mount in mounts):
        mount = {"name": token.volume, "readOnly": True, "mountPath": token.directory}
        container["volumeMounts"] = [*mounts, mount]
    return True


def _pod_identity() -> TokenVolume:
    directory = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"
    file = "eks-pod-identity-token"
    return TokenVolume(
        volume=file,
        directory=directory,
        file=file,
        audience="pods.eks.amazonaws.com",
        seconds=EXPIRATION_SECONDS,
        variables=(
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials"),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", f"{directory}/{file}"),
        ),
    )


def _web_identity(account: Object) -> TokenVolume | None:
    role = annotation(account, ROLE)
    if not role:
        return None
    directory = "/var/run/secrets/eks.amazonaws.com/serviceaccount"
    return TokenVolume(
        volume="aws-iam-token",
        directory=directory,
        file="token",
        audience=annotation(account, AUDIENCE) or "sts.amazonaws.com",
        seconds=_seconds(annotation(account, EXPIRATION)),
        variables=(("AWS_ROLE_ARN", role), ("AWS_WEB_IDENTITY_TOKEN_FILE", f"{directory}/token")),
    )


def _seconds(wish: str | None) -> int:
    """What is no number counts as not said, as in the webhook."""
    if wish is None or not wish.isdigit():
        return EXPIRATION_SECONDS
    return max(EXPIRATION_SECONDS_MIN, int(wish))
