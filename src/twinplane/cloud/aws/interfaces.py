"""Network interfaces: whose their security groups are, and elastic addresses that can be reached.

The groups of an interface are its own, and those of an instance are its primary interface's. moto adds an instance's
groups to all of its interfaces, so changing an interface's groups never takes one away, and the two ways to change them
(ModifyInstanceAttribute, ModifyNetworkInterfaceAttribute) do not know of one another.
"""

from __future__ import annotations

from typing import Any

from twinplane.cloud.aws.replacing import around


def apply() -> None:
    from moto.ec2 import utils
    from moto.ec2.models import elastic_ip_addresses
    from moto.ec2.models.elastic_network_interfaces import NetworkInterface, NetworkInterfaceBackend
    from moto.ec2.models.instances import InstanceBackend

    # moto takes elastic addresses from 127.0.0.0/8, which is the instance itself to whoever connects from one.
    elastic_ip_addresses.random_ip = utils.random_public_ip

    NetworkInterface.group_set = property(lambda self: self._group_set)

    @around(InstanceBackend, "modify_instance_security_groups")
    def modify_instance(original: Any, self: Any, instance_id: str, new_group_id_list: list[str]) -> Any:
        instance = original(self, instance_id, new_group_id_list)
        primary = instance.nics.get(0)
        if primary is not None:
            primary._group_set = list(instance.security_groups)
        return instance

    @around(NetworkInterfaceBackend, "modify_network_interface_attribute")
    def modify_interface(
        original: Any, self: Any, eni_id: str, group_ids: list[str], *others: Any, **more: Any
    ) -> None:
        original(self, eni_id, group_ids, *others, **more)
        interface = self.get_network_interface(eni_id)
        if group_ids and interface.instance is not None and interface.instance.nics.get(0) is interface:
            interface.instance.security_groups = list(interface._group_set)

    _keep_delete_on_termination()


def _keep_delete_on_termination() -> None:
    """moto ignores it, so what a node's CNI attaches would outlive the instance, with its addresses."""
    from moto.ec2.responses.elastic_network_interfaces import ElasticNetworkInterfaces

    @around(ElasticNetworkInterfaces, "modify_network_interface_attribute")
    def modify(original: Any, self: Any) -> Any:
        answer = original(self)
        wanted = (self._get_param("Attachment") or {}).get("DeleteOnTermination")
        if wanted is not None:
            interface = self.ec2_backend.get_network_interface(self._get_param("NetworkInterfaceId"))
            interface.delete_on_termination = str(wanted).lower() == "true"
        return answer
