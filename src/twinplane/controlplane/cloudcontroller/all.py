"""All controllers of the cloud controller, in one place, for the composition root of the control-plane process."""

from __future__ import annotations

from twinplane.controlplane.cloudcontroller.aws import Aws, AwsClients
from twinplane.controlplane.cloudcontroller.ingress.controller import IngressController
from twinplane.controlplane.cloudcontroller.network import ClusterNetwork
from twinplane.controlplane.cloudcontroller.node.controller import NodeController
from twinplane.controlplane.cloudcontroller.node.feed import InstanceFeed
from twinplane.controlplane.cloudcontroller.service.backends import backends
from twinplane.controlplane.cloudcontroller.service.controller import ServiceController
from twinplane.controlplane.cloudcontroller.volume.attacher import VolumeAttacher
from twinplane.controlplane.cloudcontroller.volume.provisioner import VolumeProvisioner
from twinplane.controlplane.controllers.contract import Context, Controller


def controllers(
    context: Context, aws: AwsClients | None, *, cluster_name: str, vpc_id: str, region: str, feed: InstanceFeed
) -> list[Controller]:
    """`feed.run()` has to run beside them. Without `aws` nobody makes load balancers."""
    nodes = NodeController(context, feed, region)
    if aws is None:
        return [nodes]
    account = Aws(aws)
    network = ClusterNetwork(cluster_name, vpc_id)
    return [
        nodes,
        ServiceController(context, backends(account, network)),
        IngressController(context, account, network),
        VolumeProvisioner(context, account, cluster_name),
        VolumeAttacher(context, account),
    ]
