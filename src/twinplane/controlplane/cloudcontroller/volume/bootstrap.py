"""What EKS leaves in every new cluster for volumes: the StorageClass gp2, which is not the default one."""

from __future__ import annotations

from twinplane.kubeclient.contract import Object


def bootstrap_objects() -> list[Object]:
    return [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "gp2"},
            "provisioner": "kubernetes.io/aws-ebs",
            "parameters": {"type": "gp2", "fsType": "ext4"},
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "WaitForFirstConsumer",
        }
    ]
