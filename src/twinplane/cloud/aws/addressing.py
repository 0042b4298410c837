"""Private addresses from our allocator instead of moto's dice.

moto picks secondary addresses at random, may pick one that is in use, hands out the router's address, and never takes
back what a terminated instance had. Here every address of a subnet is in `Subnet._subnet_ips` (moto's own register of
address to owner, which is saved with the account): network interfaces, and whatever else asks the subnet (EFS mount
targets), enter and leave it, and the allocator finds the next free one.
"""

from __future__ import annotations

import ipaddress
from types import SimpleNamespace
from typing import Any

from twinplane.cloud.aws.replacing import around
from twinplane.cloud.network import addresses


def apply() -> None:
    _correct_subnets()
    _correct_interfaces()
    _correct_assignment()
    _correct_instances()
    _correct_gateways()


def private_dns_name(address: str, region: str) -> str:
    """`ip-10-0-12-34.us-west-2.compute.internal`; us-east-1 keeps its older form."""
    domain = "ec2.internal" if region == "us-east-1" else f"{region}.compute.internal"
    return f"ip-{address.replace('.', '-')}.{domain}"


def _error(code: str, message: str) -> Exception:
    from moto.ec2.exceptions import EC2ClientError

    error: Exception = EC2ClientError(code, message)
    return error


def _take(subnet: Any, owner: Any, count: int) -> list[str]:
    """Allocate and register. Raises the EC2 error when the subnet is exhausted."""
    try:
        taken = addresses.allocate(
            subnet.cidr_block, subnet._subnet_ips, count, getattr(subnet, "twinplane_last_address", "")
        )
    except addresses.InsufficientFreeAddressesInSubnet as error:
        raise _error("InsufficientFreeAddressesInSubnet", str(error)) from None
    for address in taken:
        subnet._subnet_ips[address] = owner
        subnet.twinplane_last_address = address
    return taken


def _reserve(subnet: Any, owner: Any, address: str) -> None:
    """Register an address that the caller chose."""
    try:
        inside = ipaddress.IPv4Address(address) in subnet.cidr and addresses.is_usable(subnet.cidr_block, address)
    except ValueError:
        raise _error(
            "InvalidParameterValue", f"Value ({address}) for parameter privateIpAddress is invalid. Invalid IP address"
        ) from None
    if not inside:
        raise _error(
            "InvalidParameterValue",
            f"Address {address} does not fall within the subnet's address range",
        )
    if subnet._subnet_ips.get(address, owner) is not owner:
        raise _error("InvalidIPAddress.InUse", f"Address {address} is in use.")
    subnet._subnet_ips[address] = owner


def _correct_subnets() -> None:
    from moto.ec2.models.instances import Instance
    from moto.ec2.models.subnets import Subnet

    # For an instance, moto asks here first and makes the interface afterwards: the interface is the owner.
    def get_available_subnet_ip(self: Any, instance: Any) -> str:
        return "" if isinstance(instance, Instance) else _take(self, instance, 1)[0]

    def request_ip(self: Any, ip: str, instance: Any) -> None:
        if not isinstance(instance, Instance):
            _reserve(self, instance, ip)

    def del_subnet_ip(self: Any, ip: str) -> None:
        self._subnet_ips.pop(ip, None)

    def available_ip_address_count(self: Any) -> int:
        return int(self._available_ip_addresses) - len(self._subnet_ips)

    Subnet.get_available_subnet_ip = get_available_subnet_ip
    Subnet.request_ip = request_ip
    Subnet.del_subnet_ip = del_subnet_ip
    Subnet.available_ip_address_count = property(available_ip_address_count)


def _correct_interfaces() -> None:
    from moto.ec2.models.elastic_network_interfaces import NetworkInterface, NetworkInterfaceBackend

    @around(NetworkInterface, "__init__")
    def create(original: Any, self: Any, ec2_backend: Any, subnet: Any, *addressing: Any, **kw: Any) -> None:
        subnet = ec2_backend.get_subnet(subnet) if isinstance(subnet, str) else subnet
        region = ec2_backend.region_name
        try:
            held = _acquire(subnet, self, _wanted(*addressing), int(kw.pop("secondary_ips_count", None) or 0))
            records = [_record(address, region, primary=address == held[0]) for address in held]
            original(self, ec2_backend, subnet, held[0], records, **kw)
        except Exception:
            _release(subnet, self)
            raise
        # moto calls the names of all regions `ec2.internal`.
        self.private_ip_addresses = [_record(address, region, primary=address == held[0]) for address in held]
        self.private_dns_name = private_dns_name(held[0], region)

    @around(NetworkInterfaceBackend, "delete_network_interface")
    def delete(original: Any, self: Any, eni_id: str) -> None:
        interface = self.enis.get(eni_id)
        original(self, eni_id)
        for record in interface.private_ip_addresses:
            interface.subnet.del_subnet_ip(record["PrivateIpAddress"])


def _record(address: str, region: str, *, primary: bool) -> dict[str, Any]:
    return {"Primary": primary, "PrivateIpAddress": address, "PrivateDnsName": private_dns_name(address, region)}


def _acquire(subnet: Any, owner: Any, wanted: list[str], secondary: int) -> list[str]:
    """The addresses asked for, or one, and as many more as asked for."""
    for address in wanted:
        _reserve(subnet, owner, address)
    primary = wanted or _take(subnet, owner, 1)
    return primary + _take(subnet, owner, secondary)


def _wanted(primary: Any = None, others: Any = None) -> list[str]:
    """The addresses a caller asked for by value, the primary one first, without repeats."""
    first = primary[0] if isinstance(primary, list) and primary else primary
    wanted = [first] if first else []
    records = [{"PrivateIpAddress": item} if isinstance(item, str) else item for item in others or []]
    for record in sorted(records, key=lambda record: not record.get("Primary")):
        address = record.get("PrivateIpAddress")
        if address and address not in wanted:
            wanted.append(address)
    return wanted


def _release(subnet: Any, interface: Any) -> None:
    for address in [address for address, owner in subnet._subnet_ips.items() if owner is interface]:
        del subnet._subnet_ips[address]


def _correct_assignment() -> None:
    from moto.ec2.models.elastic_network_interfaces import NetworkInterfaceBackend

    def assign(self: Any, eni_id: str, private_ip_addresses: Any = None, secondary_ips_count: Any = None) -> Any:
        interface = self.get_network_interface(eni_id)
        held = {record["PrivateIpAddress"] for record in interface.private_ip_addresses}
        named = [address for address in private_ip_addresses or [] if address not in held]
        count = len(named) or int(secondary_ips_count or 0)
        _check_limit(interface, len(held) + count)
        for address in named:
            _reserve(interface.subnet, interface, address)
        new = [
            _record(address, self.region_name, primary=False)
            for address in named or _take(interface.subnet, interface, count)
        ]
        interface.private_ip_addresses.extend(new)
        # The answer lists what was assigned by this call; moto would list all that the interface has.
        return SimpleNamespace(id=eni_id, private_ip_addresses=new)

    def unassign(self: Any, eni_id: str, private_ip_address: Any = None) -> Any:
        interface = self.get_network_interface(eni_id)
        gone = set(private_ip_address or [])
        unknown = gone - {item["PrivateIpAddress"] for item in interface.private_ip_addresses if not item["Primary"]}
        if unknown:
            raise _error(
                "InvalidParameterValue",
                f"Some of the specified addresses are not assigned to interface {eni_id}",
            )
        interface.private_ip_addresses = [
            item for item in interface.private_ip_addresses if item["PrivateIpAddress"] not in gone
        ]
        for address in gone:
            interface.subnet.del_subnet_ip(address)
        return interface

    NetworkInterfaceBackend.assign_private_ip_addresses = assign
    NetworkInterfaceBackend.unassign_private_ip_addresses = unassign


def _check_limit(interface: Any, count: int) -> None:
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    facts = INSTANCE_TYPES.get(interface.instance.instance_type) if interface.instance else None
    if facts and count > facts["NetworkInfo"]["Ipv4AddressesPerInterface"]:
        raise _error("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.")


def _correct_instances() -> None:
    from moto.core.utils import utcnow
    from moto.ec2.models.instances import Instance, InstanceBackend

    # Its finalizer gives the address back a second time, when another interface may have it already.
    del Instance.__del__

    @around(Instance, "prep_nics")
    def prepare(original: Any, self: Any, nic_spec: Any, private_ip: Any = None, **kwargs: Any) -> None:
        existing = {nic.get("NetworkInterfaceId") for nic in nic_spec}
        undecided = {int(nic["DeviceIndex"]) for nic in nic_spec if nic.get("DeleteOnTermination") is None} or {0}
        original(self, nic_spec, private_ip, **kwargs)
        for index, interface in self.nics.items():
            # What RunInstances makes goes with the instance unless the caller said otherwise.
            if interface.id not in existing and index in undecided:
                interface.delete_on_termination = True

    @around(InstanceBackend, "run_instances")
    def run_instances(original: Any, self: Any, *args: Any, **kwargs: Any) -> Any:
        before = set(self.reservations)
        try:
            return original(self, *args, **kwargs)
        except Exception:
            # All or none: what was made before the last one failed goes again.
            for key in set(self.reservations) - before:
                for instance in self.reservations[key].instances:
                    instance.terminate()
                del self.reservations[key]
            raise

    @around(Instance, "terminate")
    def terminate(original: Any, self: Any) -> Any:
        previous = original(self)
        if not hasattr(self, "terminated_at"):
            self.terminated_at = utcnow()
        return previous


def _correct_gateways() -> None:
    from moto.ec2.models import instances, nat_gateways, vpcs

    # All three pass the result on as the address of a new interface: nothing means "allocate one".
    instances.random_private_ip = nat_gateways.random_private_ip = vpcs.random_private_ip = lambda *_: ""

    @around(nat_gateways.NatGateway, "__init__")
    def create(original: Any, self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.private_ip = self._eni.private_ip_address

    @around(nat_gateways.NatGatewayBackend, "delete_nat_gateway")
    def delete(original: Any, self: Any, nat_gateway_id: str) -> Any:
        gateway = original(self, nat_gateway_id)
        if gateway._eni.id in self.enis:
            self.delete_network_interface(gateway._eni.id)
        return gateway
