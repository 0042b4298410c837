"""All controllers of the cloud controller, in one place, for the composition root of the control-plane process."""

from __future__ import annotations

from dataclasses import replace

from twinplane.controlplane.cloudcontroller.aws import Aws, AwsClients
from twinplane.controlplane.cloudcontroller.ingress.controller import IngressController
from twinplane.controlplane.cloudcontroller.network import ClusterNetwork
from twinplane.controlplane.cloudcontroller.node.controller import NodeController
from twinplane.controlplane.cloudcontroller.node.feed import InstanceFeed
from twinplane.controlplane.cloudcontroller.service.backends import backends
from twinplane.controlplane.cloudcontroller.service.controller import ServiceController
from twinplane.controlplane.cloudcontroller.volume.attacher import VolumeAttacher
from twinplane.controlplane.cloudcontroller.volume.provisioner import VolumeProvisioner
from twinplane.controlplane.controllers.contract import Context, Controller, EventRecorder


def controllers(
    context: Context,
    aws: AwsClients | None,
    *,
    cluster_name: str,
    vpc_id: str,
    region: str,
    feed: InstanceFeed,
    volume_events: EventRecorder | None = None,
) -> list[Controller]:
    """`feed.run()` has to run beside them. Without `aws` nobody makes load balancers.

    `volume_events` is the recorder in the name of the EBS CSI driver (`ebs.DRIVER`).
    """
    nodes = NodeController(context, feed, region)
    if aws is None:
        return [nodes]
    account = Aws(aws)
    network = ClusterNetwork(cluster_name, vpc_id)
    volumes = replace(context, events=volume_events or context.events)
    return [
        nodes,
        ServiceController(context, backends(account, network)),
        IngressController(context, account, network),
        VolumeProvisioner(volumes, account, cluster_name),
        VolumeAttacher(volumes, account),
    ]
