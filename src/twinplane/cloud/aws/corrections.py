"""Where moto differs from AWS in ways this region's parts depend on: one list, applied once after waking.

Each correction replaces a method of a moto class with one that says why; nothing of moto is copied or forked. The two
larger subjects, addresses and Auto Scaling, have a module each.
"""

from __future__ import annotations

from typing import Any

from twinplane.cloud.aws import addressing, balancers, block_storage, interfaces, scaling
from twinplane.cloud.aws.replacing import around
from twinplane.cloud.loadbalancing.dns_names import give_aws_names


def apply() -> None:
    """Idempotent: classes that were corrected already are left alone."""
    from moto.core.common_models import BaseModel

    if getattr(BaseModel, "twinplane_corrected", False):
        return
    BaseModel.twinplane_corrected = True
    # moto appends every model instance to a list of its class, for a dashboard that nobody sees here: a leak.
    BaseModel.__new__ = staticmethod(_untracked)
    _find_directly()
    _decode_user_data()
    _count_boots()
    _keep_metadata_options()
    addressing.apply()
    block_storage.apply()
    interfaces.apply()
    scaling.apply()
    # Before `balancers`, whose wrappers would look to it like names that were given already.
    give_aws_names()
    balancers.apply()


def load(service: str) -> Any:
    """The backends of a service (name of its moto package), imported on first use and corrected."""
    from moto.backends import get_backend

    backends = get_backend(service)
    if service == "s3":
        _dispose_quietly()
    return backends


def _dispose_quietly() -> None:
    """The finalizer of an S3 object complains when it is collected; in a long life all overwritten ones are."""
    from moto.s3.models import FakeKey

    FakeKey.__del__ = lambda self: self.dispose()


def _untracked(cls: Any, *_: Any, **__: Any) -> Any:
    return object.__new__(cls)


def _keep_metadata_options() -> None:
    """moto forgets what ModifyInstanceMetadataOptions does not name: a new hop limit would bring back version 1."""
    from moto.ec2.models.instances import InstanceBackend

    @around(InstanceBackend, "modify_instance_metadata_options")
    def modify(original: Any, self: Any, instance_id: str, **given: Any) -> Any:
        before = self.get_instance(instance_id).metadata_options
        kept = {
            "http_tokens": before.http_tokens,
            "hop_limit": before.http_put_response_hop_limit,
            "http_endpoint": before.http_endpoint,
            "http_protocol": before.http_protocol_ipv6,
            "metadata_tags": before.instance_metadata_tags,
        }
        return original(self, instance_id, **kept | {key: value for key, value in given.items() if value is not None})


def _decode_user_data() -> None:
    """CreateLaunchTemplateVersion keeps user data as it came, and Auto Scaling then refuses to launch from it."""
    from moto.ec2.models.launch_templates import LaunchTemplate
    from moto.ec2.utils import parse_user_data

    @around(LaunchTemplate, "create_version")
    def create_version(original: Any, self: Any, data: dict[str, Any], description: str) -> Any:
        if isinstance(data.get("UserData"), str | bytes):
            data["UserData"] = parse_user_data(data["UserData"])
        return original(self, data, description)


def _count_boots() -> None:
    """A reboot leaves no trace in moto, nor does a stop with a start right after it; machines must notice both."""
    from moto.ec2.models.instances import Instance

    def counting(name: str) -> None:
        @around(Instance, name)
        def boot(original: Any, self: Any) -> Any:
            self.twinplane_boots = getattr(self, "twinplane_boots", 0) + 1
            return original(self)

    for name in ("start", "reboot"):
        counting(name)


def _find_directly() -> None:
    """Look-ups by id that walk over everything: they are on the path of every node's start."""
    from moto.ec2.exceptions import InvalidInstanceIdError, InvalidNetworkInterfaceIdError
    from moto.ec2.models.elastic_network_interfaces import NetworkInterfaceBackend
    from moto.ec2.models.instances import InstanceBackend

    def get_network_interface(self: Any, eni_id: str) -> Any:
        try:
            return self.enis[eni_id]
        except KeyError:
            raise InvalidNetworkInterfaceIdError(eni_id) from None

    def get_instance_by_id(self: Any, instance_id: str) -> Any:
        for reservation in self.reservations.values():
            for instance in reservation.instances:
                if instance.id == instance_id:
                    return instance
        return None

    def get_instance(self: Any, instance_id: str) -> Any:
        instance = get_instance_by_id(self, instance_id)
        if instance is None:
            raise InvalidInstanceIdError(instance_id)
        return instance

    NetworkInterfaceBackend.get_network_interface = get_network_interface
    InstanceBackend.get_instance_by_id = get_instance_by_id
    InstanceBackend.get_instance = get_instance
