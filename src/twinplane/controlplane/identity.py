"""Authentication and authorization of one cluster, put together: certificates, service accounts, EKS IAM tokens, RBAC.

Called by the composition once the object cache exists, because rules and accounts are read from it. IAM is one of the
`authenticators` that a control plane is founded on: those of a region have it, those of a test do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from twinplane.clock import Clock
from twinplane.controlplane.admission.contract import ObjectReader
from twinplane.controlplane.api.runtime import CreateToken, ReviewToken
from twinplane.controlplane.auth import token_request
from twinplane.controlplane.auth.access import PolicyGrants
from twinplane.controlplane.auth.access_entries import AuthenticationModeOf, EksAccessEntries
from twinplane.controlplane.auth.authentication import UnionAuthenticator
from twinplane.controlplane.auth.authorization import UnionAuthorizer, default_authorizer
from twinplane.controlplane.auth.client_certificate import ClientCertificateAuthenticator
from twinplane.controlplane.auth.contract import Authenticator
from twinplane.controlplane.auth.iam_mapping import IamMapper
from twinplane.controlplane.auth.iam_token import IamAuthenticator, IamTokenVerifier
from twinplane.controlplane.auth.rbac import RbacAuthorizer
from twinplane.controlplane.auth.service_account_token import ServiceAccountTokenAuthenticator, TokenIssuer
from twinplane.controlplane.auth.sts import StsIdentify
from twinplane.controlplane.cloudcontroller.node.feed import InstanceFeed
from twinplane.controlplane.configuration import ControlPlaneConfiguration
from twinplane.controlplane.region_api import RegionApi
from twinplane.kubeclient.contract import Object


@dataclass(frozen=True)
class Identity:
    """What the API server is handed."""

    authenticator: UnionAuthenticator
    authorizer: UnionAuthorizer
    rbac: RbacAuthorizer
    create_token: CreateToken
    review_token: ReviewToken
    accounts: ServiceAccountTokenAuthenticator
    documents: dict[str, Callable[[], Object]]


def identity_of(
    configuration: ControlPlaneConfiguration,
    key: RSAPrivateKey,
    reader: ObjectReader,
    authenticators: Callable[[ObjectReader, PolicyGrants], Sequence[Authenticator]],
    clock: Clock,
) -> Identity:
    """`key` signs the tokens of service accounts; `authenticators` are asked after certificates and accounts."""
    issuer = TokenIssuer(key, issuer=configuration.issuer, clock=clock)
    accounts = ServiceAccountTokenAuthenticator(
        [key.public_key()],
        issuers=[configuration.issuer],
        api_audiences=issuer.api_audiences,
        reader=reader,
        clock=clock,
    )
    grants = PolicyGrants()
    authenticator = UnionAuthenticator(
        [ClientCertificateAuthenticator(clock), accounts, *authenticators(reader, grants)]
    )
    rbac = RbacAuthorizer(reader)
    return Identity(
        authenticator=authenticator,
        authorizer=default_authorizer(reader, rbac, grants),
        rbac=rbac,
        create_token=partial(token_request.create_token, issuer, reader),
        review_token=partial(token_request.review_token, authenticator, accounts),
        accounts=accounts,
        documents={
            "/.well-known/openid-configuration": partial(
                token_request.openid_configuration, configuration.issuer, configuration.url
            ),
            "/openid/v1/jwks": partial(token_request.key_set, [key.public_key()]),
        },
    )


def iam_authenticator(
    configuration: ControlPlaneConfiguration,
    reader: ObjectReader,
    grants: PolicyGrants,
    *,
    region_api: RegionApi,
    sts: StsIdentify,
    feed: InstanceFeed,
    clock: Clock,
) -> list[Authenticator]:
    """Tokens of `aws eks get-token`, mapped by access entries and the `aws-auth` ConfigMap."""

    async def private_dns_name(instance_id: str) -> str | None:
        instance = feed.by_id(instance_id)
        return None if instance is None else str(instance["private_dns_name"])

    mapper = IamMapper(
        mode=AuthenticationModeOf(configuration.cluster, region_api.eks, clock),
        entries=EksAccessEntries(configuration.cluster, region_api.eks, clock),
        reader=reader,
        grants=grants,
        private_dns_name=private_dns_name,
    )
    endpoint = urlsplit(configuration.aws_endpoint)
    hosts = {endpoint.netloc, f"localhost:{endpoint.port}", f"127.0.0.1:{endpoint.port}"}
    verifier = IamTokenVerifier(configuration.cluster, sts, clock, hosts=hosts)
    return [IamAuthenticator(verifier, mapper)]


def service_account_key(path: Path) -> RSAPrivateKey:
    """Raises OSError, ValueError and TypeError for what is no RSA key in PEM."""
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, RSAPrivateKey):
        raise TypeError(f"{path} holds no RSA key")
    return key
