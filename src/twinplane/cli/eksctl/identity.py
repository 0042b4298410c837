"""Pods with AWS identity, as eksctl makes them: an OIDC provider, roles of service accounts (IRSA), EKS Pod Identity.

eksctl keeps each role in a CloudFormation stack; here roles carry eksctl's tags, and a name that begins as the stack's.
Source: eksctl's user guide, "IAM Roles for Service Accounts" and "EKS Pod Identity Associations".
"""

from __future__ import annotations

import hashlib
from typing import Any, Protocol
from urllib.parse import quote

from twinplane.cli.eksctl import roles
from twinplane.cli.eksctl.account import Account, cluster_tags
from twinplane.cli.eksctl.identity_config import Association, Identities, Permissions, ServiceAccount
from twinplane.cli.output import CommandError, Progress

AUDIENCE = "sts.amazonaws.com"
ROLE_ANNOTATION = "eks.amazonaws.com/role-arn"
MANAGED_BY = {"app.kubernetes.io/managed-by": "eksctl"}
POD_IDENTITY_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "pods.eks.amazonaws.com"},
            "Action": ["sts:AssumeRole", "sts:TagSession"],
        }
    ],
}

Cluster = dict[str, Any]


class Objects(Protocol):
    """The cluster's API server (`nodes.Api`)."""

    def find(self, path: str) -> dict[str, Any] | None: ...

    def send(self, method: str, path: str, content: Any = None) -> dict[str, Any]: ...


def create_all(account: Account, cluster: Cluster, api: Objects, wanted: Identities, progress: Progress) -> None:
    """Of a ClusterConfig; its OIDC provider is there already."""
    for service_account in wanted.service_accounts:
        create_service_account(account, cluster, api, service_account, progress)
    for association in wanted.associations:
        create_association(account, cluster, api, association, progress)


# -- the provider ------------------------------------------------------------------------------------------------------


def provider_arn(account: Account, cluster: Cluster) -> str | None:
    """None when the cluster has no provider yet."""
    wanted = f":oidc-provider/{_issuer(cluster)}"
    listed = account.iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
    return next((str(entry["Arn"]) for entry in listed if entry["Arn"].endswith(wanted)), None)


def associate_provider(account: Account, cluster: Cluster) -> str:
    """The ARN of the provider, made now. The thumbprint is unused by IAM since 2023 but must be given."""
    tags = [{"Key": key, "Value": value} for key, value in cluster_tags(cluster["name"]).items()]
    made = account.iam.create_open_id_connect_provider(
        Url=cluster["identity"]["oidc"]["issuer"], ClientIDList=[AUDIENCE], ThumbprintList=["0" * 40], Tags=tags
    )
    return str(made["OpenIDConnectProviderArn"])


def delete_providers(account: Account, cluster: str) -> None:
    """Those with eksctl's tags of a cluster; the cluster itself may be gone."""
    for entry in account.iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]:
        arn = entry["Arn"]
        found = account.iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn).get("Tags", [])
        if cluster_tags(cluster).items() <= {tag["Key"]: tag["Value"] for tag in found}.items():
            account.iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)


def _issuer(cluster: Cluster) -> str:
    """Without the scheme, as IAM writes it."""
    return str(cluster["identity"]["oidc"]["issuer"]).partition("://")[2]


# -- IRSA --------------------------------------------------------------------------------------------------------------


def create_service_account(
    account: Account,
    cluster: Cluster,
    api: Objects,
    wanted: ServiceAccount,
    progress: Progress,
    *,
    override: bool = True,
) -> None:
    """The role that trusts the service account, and the service account that names it. `override` lets one that exists
    be annotated. Raises `CommandError`."""
    provider = provider_arn(account, cluster)
    name = cluster["name"]
    if provider is None:
        raise CommandError(
            f"unable to create iamserviceaccount(s) without IAM OIDC provider enabled: run `twinplane utils "
            f"associate-iam-oidc-provider --cluster={name} --approve`"
        )
    exists = api.find(_path(wanted.namespace, wanted.name)) is not None
    if exists and not override and not wanted.role_only:
        raise CommandError(
            f"serviceaccount {wanted.namespace}/{wanted.name} exists already: use --override-existing-serviceaccounts"
        )
    role_arn = wanted.attach_role_arn
    if not role_arn:
        trust = _web_identity_trust(provider, _issuer(cluster), wanted.namespace, wanted.name)
        default = _account_role(name, wanted.namespace, wanted.name)
        role_arn = _ensure_role(account, name, wanted.role_name or default, trust, wanted.permissions)
    if wanted.role_only:
        progress.info(f'created role "{role_arn}" for serviceaccount "{wanted.namespace}/{wanted.name}"')
        return
    annotations = {**wanted.annotations, ROLE_ANNOTATION: role_arn}
    _ensure_account(api, wanted.namespace, wanted.name, annotations, wanted.labels)
    progress.info(f'created serviceaccount "{wanted.namespace}/{wanted.name}"')


def _web_identity_trust(provider: str, issuer: str, namespace: str, name: str) -> dict[str, Any]:
    subject = f"system:serviceaccount:{namespace}:{name}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Federated": provider},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {"StringEquals": {f"{issuer}:aud": AUDIENCE, f"{issuer}:sub": subject}},
            }
        ],
    }


def delete_service_account(account: Account, cluster: Cluster, api: Objects, namespace: str, name: str) -> None:
    """The service account with the role that was made for it. Raises `CommandError` where eksctl made neither."""
    role = _account_role(cluster["name"], namespace, name)
    found = api.find(_path(namespace, name))
    labels = ((found or {}).get("metadata") or {}).get("labels") or {}
    managed = found is not None and MANAGED_BY.items() <= labels.items()
    if not managed and not roles.exists(account, role):
        raise CommandError(f'iamserviceaccount "{namespace}/{name}" not found')
    if managed:
        api.send("DELETE", _path(namespace, name))
    roles.delete_role(account, role)


def service_accounts(api: Objects) -> list[tuple[str, str, str]]:
    """(namespace, name, ARN of the role) of all that eksctl made."""
    found = api.find("/api/v1/serviceaccounts?labelSelector=app.kubernetes.io%2Fmanaged-by%3Deksctl") or {}
    named = [each["metadata"] for each in found.get("items", ())]
    rows = [(each["namespace"], each["name"], (each.get("annotations") or {}).get(ROLE_ANNOTATION)) for each in named]
    return [(namespace, name, arn) for namespace, name, arn in rows if arn]


def _account_role(cluster: str, namespace: str, name: str) -> str:
    return _role_name(cluster, f"addon-iamserviceaccount-{namespace}-{name}-Role1")


# -- EKS Pod Identity --------------------------------------------------------------------------------------------------


def create_association(
    account: Account, cluster: Cluster, api: Objects, wanted: Association, progress: Progress
) -> None:
    """Raises `CommandError`, and botocore's ClientError for an association that exists."""
    name, target = cluster["name"], f"{wanted.namespace}/{wanted.service_account}"
    role_arn = wanted.role_arn
    if not role_arn:
        default = _association_role(name, wanted.namespace, wanted.service_account)
        role_arn = _ensure_role(account, name, wanted.role_name or default, POD_IDENTITY_TRUST, wanted.permissions)
    account.eks.create_pod_identity_association(
        clusterName=name,
        namespace=wanted.namespace,
        serviceAccount=wanted.service_account,
        roleArn=role_arn,
        tags={**cluster_tags(name), **wanted.permissions.tags},
    )
    if wanted.create_service_account:
        _ensure_account(api, wanted.namespace, wanted.service_account, {}, {})
    progress.info(f'created pod identity association for service account "{target}"')


def delete_association(account: Account, cluster: str, namespace: str, service_account: str) -> None:
    """With the role that was made for it. Raises `CommandError` when there is none."""
    wanted = {"clusterName": cluster, "namespace": namespace, "serviceAccount": service_account}
    found = account.eks.list_pod_identity_associations(**wanted)["associations"]
    if not found:
        raise CommandError(f'pod identity association for service account "{namespace}/{service_account}" not found')
    account.eks.delete_pod_identity_association(clusterName=cluster, associationId=found[0]["associationId"])
    roles.delete_role(account, _association_role(cluster, namespace, service_account))


def associations(account: Account, cluster: str) -> list[tuple[str, str, str, str]]:
    """(ARN of the association, namespace, service account, ARN of the role) of all."""
    pages = account.eks.get_paginator("list_pod_identity_associations").paginate(clusterName=cluster)
    listed = [each["associationId"] for page in pages for each in page["associations"]]
    described = [
        account.eks.describe_pod_identity_association(clusterName=cluster, associationId=each)["association"]
        for each in listed
    ]
    return [(each["associationArn"], each["namespace"], each["serviceAccount"], each["roleArn"]) for each in described]


def _association_role(cluster: str, namespace: str, service_account: str) -> str:
    return _role_name(cluster, f"podidentityrole-{namespace}-{service_account}-Role1")


# -- what both need ----------------------------------------------------------------------------------------------------


def _role_name(cluster: str, rest: str) -> str:
    """At most 64 characters, and another one for another service account also when it is cut."""
    name = f"eksctl-{cluster}-{rest}"
    return f"{name[:51]}-{hashlib.sha256(name.encode()).hexdigest()[:12].upper()}"


def _ensure_role(account: Account, cluster: str, name: str, trust: dict[str, Any], permissions: Permissions) -> str:
    arn = roles.ensure_trusting(account, cluster, name, trust, permissions.policy_arns, more_tags=permissions.tags)
    if permissions.policy:
        roles.put_policy(account, name, "Policy1", permissions.policy)
    return arn


def _path(namespace: str, name: str = "") -> str:
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/serviceaccounts"
    return f"{path}/{quote(name, safe='')}" if name else path


def _ensure_account(
    api: Objects, namespace: str, name: str, annotations: dict[str, str], labels: dict[str, str]
) -> None:
    """With these annotations and labels beside its own; the namespace is made when missing, as eksctl does."""
    found = api.find(_path(namespace, name))
    if found is None:
        if api.find(f"/api/v1/namespaces/{quote(namespace, safe='')}") is None:
            api.send("POST", "/api/v1/namespaces", {"metadata": {"name": namespace, "labels": MANAGED_BY}})
        metadata = {"name": name, "namespace": namespace, "labels": MANAGED_BY | labels, "annotations": annotations}
        api.send("POST", _path(namespace), {"metadata": metadata})
        return
    metadata = found["metadata"]
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **annotations}
    metadata["labels"] = {**(metadata.get("labels") or {}), **MANAGED_BY, **labels}
    api.send("PUT", _path(namespace, name), found)
