"""The account of the simulation's tests: instances of a node group with a label and a taint of its own."""

from __future__ import annotations

from typing import Any

from twinplane.testing import memory_account

NODE_CONFIG = """MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="//"

--//
Content-Type: application/node.eks.aws

---
apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  cluster:
    name: demo
  kubelet:
    config:
      maxPods: 29
    flags:
    - "--node-labels=eks.amazonaws.com/nodegroup=main,eks.amazonaws.com/capacityType=ON_DEMAND"
    - "--register-with-taints=dedicated=x:NoSchedule"

--//--
"""


class MemoryAccount(memory_account.MemoryAccount):
    def start(self, number: int, zone: str = "us-west-2a", **more: Any) -> dict[str, Any]:
        return super().start(number, zone, **{"user_data": NODE_CONFIG, **more})
