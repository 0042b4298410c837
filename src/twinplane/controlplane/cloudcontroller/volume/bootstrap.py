"""What a new cluster has for volumes: StorageClasses gp2 and gp3, neither of them the default, and the EBS driver.

gp2 is as EKS makes it since version 1.30. EKS has no gp3 of its own: everybody makes one like this beside the EBS CSI
driver, which here is there from the start.
"""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.cloudcontroller.volume.ebs import BUILT_IN, DRIVER, IN_TREE
from twinplane.kubeclient.contract import Object


def bootstrap_objects() -> list[Object]:
    return [
        _storage_class("gp2", IN_TREE, {"type": "gp2", "fsType": "ext4"}),
        _storage_class("gp3", DRIVER, {"type": "gp3"}, allowVolumeExpansion=True),
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "CSIDriver",
            "metadata": {
                "name": DRIVER,
                "labels": {"app.kubernetes.io/name": "aws-ebs-csi-driver", BUILT_IN: "true"},
            },
            "spec": {"attachRequired": True, "podInfoOnMount": False, "fsGroupPolicy": "File"},
        },
    ]


def _storage_class(name: str, provisioner: str, parameters: dict[str, str], **more: Any) -> Object:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": provisioner,
        "parameters": parameters,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
        **more,
    }
