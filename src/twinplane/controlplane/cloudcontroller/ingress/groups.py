"""Which Ingresses are ours and which of them share a load balancer. Pure.

A group is what one Application Load Balancer serves: one Ingress, or all with the same `group.name`. Its key is the
name of that group with no namespace, or the Ingress's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from twinplane.controlplane.cloudcontroller.aws import Unbuildable
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import annotations_of, finalizers_of, is_deleting, name_of, namespace_of

PREFIX = "alb.ingress.kubernetes.io/"
CONTROLLER = "ingress.k8s.aws/alb"
CLASS_ANNOTATION = "kubernetes.io/ingress.class"
CLASS = "alb"
FINALIZER = "ingress.k8s.aws/resources"
GROUP_FINALIZER = "group.ingress.k8s.aws/"


class Group(NamedTuple):
    namespace: str
    """Empty for a group that several Ingresses name."""
    name: str

    @property
    def id(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @property
    def finalizer(self) -> str:
        return FINALIZER if self.namespace else GROUP_FINALIZER + self.name


def is_ours(ingress: Object, classes: Mapping[str, str]) -> bool:
    """`classes`: IngressClass name -> its controller. The annotation is older and wins, as in the real controller."""
    annotation = annotations_of(ingress).get(CLASS_ANNOTATION)
    if annotation is not None:
        return annotation == CLASS
    return classes.get(ingress.get("spec", {}).get("ingressClassName") or "") == CONTROLLER


def group_of(ingress: Object) -> Group:
    name = annotations_of(ingress).get(PREFIX + "group.name", "").strip()
    return Group("", name) if name else Group(namespace_of(ingress), name_of(ingress))


def groups_held(ingress: Object) -> list[Group]:
    """Groups whose resources may still serve this Ingress, told by its finalizers."""
    held = []
    for finalizer in finalizers_of(ingress):
        if finalizer == FINALIZER:
            held.append(Group(namespace_of(ingress), name_of(ingress)))
        elif finalizer.startswith(GROUP_FINALIZER):
            held.append(Group("", finalizer.removeprefix(GROUP_FINALIZER)))
    return held


def is_member(ingress: Object, group: Group, classes: Mapping[str, str]) -> bool:
    return not is_deleting(ingress) and is_ours(ingress, classes) and group_of(ingress) == group


def in_order(ingresses: list[Object]) -> list[Object]:
    """By `group.order`, then by name: rules of the first come first."""
    return sorted(ingresses, key=lambda ingress: (_order(ingress), namespace_of(ingress), name_of(ingress)))


def _order(ingress: Object) -> int:
    text = annotations_of(ingress).get(PREFIX + "group.order", "0").strip()
    if not text.lstrip("-").isdigit():
        raise Unbuildable(f"failed to load Ingress group order: {text}")
    return int(text)
