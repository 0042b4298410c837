"""The EKS service: every operation of the API in one table, and the life of what runs behind them."""

from __future__ import annotations

from typing import Any

from twinplane.cloud.eks.access import AccessEntries
from twinplane.cloud.eks.call import Call, Context, Operation, public
from twinplane.cloud.eks.catalogue import ClusterVersions
from twinplane.cloud.eks.cluster_updates import ClusterUpdates
from twinplane.cloud.eks.clusters import Clusters
from twinplane.cloud.eks.errors import EksError
from twinplane.cloud.eks.nodegroup_updates import NodegroupUpdates
from twinplane.cloud.eks.nodegroups import Nodegroups
from twinplane.cloud.eks.pod_identity import EksAuth, PodIdentity
from twinplane.cloud.eks.protocol import Protocol, error_response
from twinplane.cloud.eks.scale_in import ScaleIn
from twinplane.cloud.eks.tags import Tags
from twinplane.cloud.eks.updates import Updates
from twinplane.cloud.identity import Identity, ServiceSessions
from twinplane.cloud.requests import AwsRequest, AwsResponse


class EksService:
    def __init__(self, context: Context, sessions: ServiceSessions) -> None:
        self._context = context
        self._updates = Updates(context)
        self._access = AccessEntries(context)
        self._clusters = Clusters(context, self._access)
        self._nodegroups = Nodegroups(context, self._access)
        self._scale_in = ScaleIn(context)
        components = (
            self._clusters,
            ClusterUpdates(context, self._clusters, self._updates),
            self._nodegroups,
            NodegroupUpdates(context, self._nodegroups, self._updates),
            self._updates,
            self._access,
            associations := PodIdentity(context),
            Tags(context),
            ClusterVersions(context),
        )
        operations: dict[str, Operation] = {}
        for component in components:
            operations |= component.operations()
        auth = EksAuth(context, associations, sessions, self.issuer_key)
        self._operations = {"eks": operations, "eks-auth": auth.operations()}

    def start(self) -> None:
        """Resume unfinished work. The AWS endpoint answers already."""
        self._clusters.resume()
        self._nodegroups.resume()
        self._updates.resume()
        self._scale_in.start()

    async def resumed(self) -> None:
        """Until the work that `start` resumed is done."""
        await self._context.background.settled()

    def clusters(self) -> list[dict[str, Any]]:
        return [public(record) for _, record in self._context.state.below("cluster")]

    def issuer_key(self, issuer: str) -> str:
        """PEM of the key of the cluster with this OIDC issuer; empty when there is none."""
        for (name,), cluster in self._context.state.below("cluster"):
            if cluster["identity"]["oidc"]["issuer"] == issuer:
                return self._context.control_planes.token_key(name)
        return ""

    async def stop(self) -> None:
        await self._context.background.stop()

    async def handle(self, request: AwsRequest, identity: Identity) -> AwsResponse:
        """A request of `eks` or `eks-auth`."""
        protocol = Protocol.of(request.service)
        try:
            name, parameters = protocol.parse(request)
            operation = self._operations[request.service].get(name)
            if operation is None:
                raise EksError("UnknownOperationException", f"{name} is not offered by this region yet")
            return protocol.serialize(name, await operation(Call(parameters, identity)))
        except EksError as error:
            return error_response(error)

    # -- what the internal API tells the processes of the region -----------------------------------------------------

    def access_entries(self, cluster: str) -> list[dict[str, Any]] | None:
        if self._context.state.get("cluster", cluster) is None:
            return None
        # Copies: whoever polls compares with what it was told before.
        return [public(entry) | {"policies": list(entry["policies"])} for entry in self._access.all(cluster)]

    def nodegroups(self, cluster: str) -> list[dict[str, Any]] | None:
        if self._context.state.get("cluster", cluster) is None:
            return None
        shown = ("nodegroupName", "labels", "taints", "status", "amiType", "capacityType", "nodeRole", "version")
        return [{name: group[name] for name in shown} for _, group in self._context.state.below("nodegroup", cluster)]
