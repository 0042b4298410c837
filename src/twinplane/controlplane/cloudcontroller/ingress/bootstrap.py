"""Objects that every cluster has from the start, because the ALB controller is part of the cloud controller."""

from __future__ import annotations

from twinplane.controlplane.cloudcontroller.ingress.groups import CLASS, CONTROLLER
from twinplane.kubeclient.contract import Object


def bootstrap_objects() -> list[Object]:
    return [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IngressClass",
            "metadata": {"name": CLASS, "labels": {"app.kubernetes.io/name": "aws-load-balancer-controller"}},
            "spec": {"controller": CONTROLLER},
        }
    ]
