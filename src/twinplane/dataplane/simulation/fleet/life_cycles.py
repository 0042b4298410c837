"""Life cycles as data: which pods of a fleet live otherwise than stages.yaml has it. Pure.

A rule names pods as failures do and then the stages that differ. The same pods are drawn every time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from twinplane.dataplane.simulation import document
from twinplane.dataplane.simulation.document import Fields, InvalidFleet
from twinplane.dataplane.simulation.fleet.failures import NodeFacts, PodFacts, drawn
from twinplane.dataplane.simulation.stages import Stages, default_stages, overlaid


@dataclass(frozen=True, slots=True)
class LifeCycle:
    stages: Stages
    selector: tuple[tuple[str, str], ...] = ()
    namespace: str = ""
    group: str = ""
    share: float = 1.0

    def covers(self, pod: PodFacts, node: NodeFacts) -> bool:
        return (
            (not self.namespace or self.namespace == pod.namespace)
            and (not self.group or self.group == node.group)
            and all(pod.labels.get(key) == value for key, value in self.selector)
            and (self.share >= 1 or drawn(f"lifeCycle/{pod.namespace}/{pod.name}") < self.share)
        )


def stages_of(rules: Iterable[LifeCycle], pod: PodFacts, node: NodeFacts) -> Stages | None:
    """Of the first rule that covers the pod."""
    return next((rule.stages for rule in rules if rule.covers(pod, node)), None)


def read_life_cycle(value: object, place: str) -> LifeCycle:
    """Raises `InvalidFleet`."""
    fields = Fields(value, place)
    selector = tuple(sorted((fields.optional("selector", document.labels) or {}).items()))
    namespace = fields.given("namespace", document.text, "")
    group = fields.given("group", document.text, "")
    share = fields.given("share", document.share, 1.0)
    stages = overlaid(default_stages(), fields)
    fields.done()
    if stages is default_stages():
        raise InvalidFleet(f"{place}: names no stage that differs")
    return LifeCycle(stages, selector, namespace, group, share)
