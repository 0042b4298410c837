"""Tells kubelets how long they may keep Secrets and ConfigMaps: longer, the more nodes there are to ask for them.

The annotation is upstream's `ttl-controller`'s. As there, a node learns of another size of the cluster with its next
change; sizes overlap, so that a cluster at a boundary does not write to all nodes again and again.
"""

from __future__ import annotations

from typing import NamedTuple

from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.ownership import key_of
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import annotations_of
from twinplane.kubeclient.resources import NODES

ANNOTATION = "node.alpha.kubernetes.io/ttl"


class Step(NamedTuple):
    """While there are from `least` to `most` nodes."""

    least: int
    most: float
    seconds: int


STEPS = (
    Step(0, 100, 0),
    Step(90, 500, 15),
    Step(450, 1000, 30),
    Step(900, 2000, 60),
    Step(1800, float("inf"), 300),
)


class NodeTtlController:
    name = "ttl-controller"
    workers = 5

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._nodes = context.informers.of(NODES)
        self._count = 0
        self._step = 0

    @property
    def _wanted(self) -> str:
        return str(STEPS[self._step].seconds)

    def watch(self, enqueue: Enqueue) -> None:
        def changed(old: Object | None, new: Object | None) -> None:
            if old is None or new is None:
                self._counted(1 if old is None else -1)
            if new is not None and annotations_of(new).get(ANNOTATION) != self._wanted:
                enqueue(key_of(new))

        self._nodes.add_handler(changed)

    def _counted(self, difference: int) -> None:
        self._count += difference
        if self._count > STEPS[self._step].most:
            self._step += 1
        elif self._count < STEPS[self._step].least:
            self._step -= 1

    async def reconcile(self, key: Key) -> float | None:
        node = self._nodes.get(key.name)
        if node is None or annotations_of(node).get(ANNOTATION) == self._wanted:
            return None
        try:
            await self._client.patch(NODES, key.name, {"metadata": {"annotations": {ANNOTATION: self._wanted}}})
        except ApiError as error:
            if error.code != 404:
                raise
        return None
