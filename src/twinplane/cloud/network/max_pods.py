"""How many pods fit on an instance type, as EKS's recommended maximum has it.

With the VPC CNI every pod takes a secondary address of one of the instance's interfaces, and two pods (aws-node and
kube-proxy) share the node's own address:

    max pods = interfaces x (addresses per interface - 1) + 2

For managed node groups without a custom AMI, EKS caps the kubelet's value: 110 for instance types with 30 vCPUs or
fewer, 250 for larger ones (EKS user guide, "Choosing an optimal EC2 node instance type"; `max-pods-calculator.sh`).
"""

from __future__ import annotations

CAP_SMALL = 110
CAP_LARGE = 250
SMALL_VCPUS = 30


def address_limit(interfaces: int, addresses_per_interface: int) -> int:
    """The published table (`eni-max-pods.txt`): what the interfaces can hold."""
    return interfaces * (addresses_per_interface - 1) + 2


def max_pods(interfaces: int, addresses_per_interface: int, vcpus: int) -> int:
    """What a managed node group sets as the kubelet's `maxPods`."""
    cap = CAP_SMALL if vcpus <= SMALL_VCPUS else CAP_LARGE
    return min(address_limit(interfaces, addresses_per_interface), cap)
