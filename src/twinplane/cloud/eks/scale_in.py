"""Nodes of managed node groups are drained before their Auto Scaling group's instances go.

EKS puts a lifecycle hook on each group; instances that the group gives up (a smaller size, TerminateInstanceInAuto-
ScalingGroup, a new version) wait for it. Here each of them is drained through the Kubernetes API, within its bound, and
then terminated. Who terminates an instance through EC2 gets what was asked for: at once, as in AWS.
"""

from __future__ import annotations

import asyncio
import logging

from botocore.exceptions import BotoCoreError, ClientError

from twinplane.cloud.contract import Instance
from twinplane.cloud.eks.call import Context

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Nodes that are drained at the same time."""
NODEGROUP_TAG = "eks:nodegroup-name"


class ScaleIn:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._under_way: set[str] = set()
        self._places = asyncio.Semaphore(AT_ONCE)

    def start(self) -> None:
        """Also with what an earlier daemon has not finished."""
        self._context.cloud.subscribe(self._changed)
        self._look()

    def _changed(self, service: str) -> None:
        if service in ("autoscaling", "ec2"):
            self._look()

    def _look(self) -> None:
        for instance in self._context.cloud.instances():
            if instance.leaving and NODEGROUP_TAG in instance.tags and instance.instance_id not in self._under_way:
                self._under_way.add(instance.instance_id)
                self._context.background.start(f"eks-scale-in-{instance.instance_id}", self._take_away(instance))

    async def _take_away(self, instance: Instance) -> None:
        try:
            async with self._places:
                if self._context.state.get("cluster", instance.cluster) is not None:
                    group = instance.tags[NODEGROUP_TAG]
                    await self._context.control_planes.drain(instance.cluster, group, instance.private_dns_name)
                await self._context.in_thread(self._terminate, instance.instance_id)
        except (ClientError, BotoCoreError) as error:
            # Tried again with the next change.
            log.warning("instance %s could not be terminated: %s", instance.instance_id, error)
        finally:
            self._under_way.discard(instance.instance_id)

    def _terminate(self, instance_id: str) -> None:
        self._context.clients.client("ec2").terminate_instances(InstanceIds=[instance_id])
