"""Admission requests for tests, and one way to send them through plugins."""

from __future__ import annotations

from random import Random
from typing import Any, Literal

from tests.unit.auth.fakes import Cluster, FixedClock
from twinplane.controlplane.admission import chain
from twinplane.controlplane.admission.contract import AdmissionPlugin, AdmissionRequest
from twinplane.controlplane.auth.access import PolicyGrants
from twinplane.controlplane.auth.authorization import default_authorizer
from twinplane.controlplane.auth.contract import UserInfo
from twinplane.controlplane.auth.rbac import RbacAuthorizer
from twinplane.kubeclient.contract import Object, Resource

ALICE = UserInfo("alice", ("system:authenticated",))
Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]


def request(
    resource: Resource,
    body: Object | None,
    *,
    old: Object | None = None,
    operation: Operation | None = None,
    subresource: str = "",
    user: UserInfo = ALICE,
    dry_run: bool = False,
) -> AdmissionRequest:
    metadata: dict[str, Any] = ((body or old or {}).get("metadata")) or {}
    implied: Operation = "DELETE" if body is None else "UPDATE" if old else "CREATE"
    return AdmissionRequest(
        operation=operation or implied,
        resource=resource,
        subresource=subresource,
        namespace=metadata.get("namespace", ""),
        name=metadata.get("name", ""),
        object=body,
        old=old,
        user=user,
        dry_run=dry_run,
    )


async def send(asked: AdmissionRequest, *plugins: AdmissionPlugin) -> Object:
    """Through both halves; the object as it came out."""
    await chain.admit(plugins, asked)
    await chain.validate(plugins, asked)
    return asked.object or {}


def all_plugins(cluster: Cluster, clock: FixedClock | None = None, **options: Any) -> list[AdmissionPlugin]:
    rbac = RbacAuthorizer(cluster.reader)
    authorizer = default_authorizer(cluster.reader, rbac, PolicyGrants())
    return chain.default_plugins(
        cluster.reader, cluster, clock or FixedClock(), Random(1), rbac=rbac, authorizer=authorizer, **options
    )
