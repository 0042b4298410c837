"""The instances of the cluster, as the account has them: a long poll that hands on each new state of affairs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import quote

from twinplane.dataplane.aws import Aws, AwsError

log = logging.getLogger(__name__)

POLL_SECONDS = 30
RETRY_SECONDS = 1.0
REAL = "containerd"


@dataclass(frozen=True, slots=True)
class Instance:
    instance_id: str
    state: str
    """EC2's: pending, running, shutting-down, terminated, stopping, stopped."""
    instance_type: str
    image_id: str
    private_ip: str
    private_dns_name: str
    vpc_id: str
    subnet_id: str
    availability_zone: str
    network_interface_id: str
    launch_time: float = 0.0
    tags: dict[str, str] = field(default_factory=dict)
    user_data: str = ""
    runtime: str = ""
    """`containerd` for an instance that is a machine: a real node, not ours to simulate."""


FIELDS = tuple(item.name for item in fields(Instance))


def parse_instance(record: dict[str, Any]) -> Instance:
    """Fields that are not ours are ignored: the feed may learn more than we read."""
    return Instance(**{name: record[name] for name in FIELDS if record.get(name) is not None})


class InstanceFeed:
    def __init__(self, aws: Aws, cluster: str, changed: Callable[[list[Instance]], None]) -> None:
        """`changed` gets all instances of the cluster that are to be simulated, whenever anything about them is new."""
        self._aws = aws
        self._path = f"/_twinplane/clusters/{quote(cluster, safe='')}/instances"
        self._changed = changed
        self._revision = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self._poll()
            except (AwsError, OSError, TimeoutError) as error:
                log.debug("instance feed: %s", error)
                # The daemon may be down for a while: nodes go on without it.
                await asyncio.sleep(RETRY_SECONDS)

    async def _poll(self) -> None:
        path = f"{self._path}?after={self._revision}&timeout={POLL_SECONDS}"
        answer = await self._aws.get(path, POLL_SECONDS + 15)
        revision = int(answer["revision"])
        if revision == self._revision:
            return
        self._revision = revision
        instances = (parse_instance(record) for record in answer["instances"])
        self._changed([instance for instance in instances if instance.runtime != REAL])
