"""The arguments of single plugins (`pluginConfig` of a KubeSchedulerConfiguration), read into plugins.

Ranges and texts follow upstream's validation of kubescheduler.config.k8s.io/v1.
"""

from __future__ import annotations

from twinplane.controlplane.scheduler.decoding import Fields
from twinplane.controlplane.scheduler.framework import Plugin
from twinplane.controlplane.scheduler.plugins import balanced_allocation as balanced
from twinplane.controlplane.scheduler.plugins import inter_pod_affinity as pods
from twinplane.controlplane.scheduler.plugins import node_affinity as nodes
from twinplane.controlplane.scheduler.plugins import node_resources_fit as fit
from twinplane.controlplane.scheduler.plugins import pod_topology_spread as spread
from twinplane.controlplane.scheduler.preemption import PreemptionArgs
from twinplane.controlplane.scheduler.requirements import NodeTerm, node_term
from twinplane.controlplane.scheduler.shape import Preferred, SpreadConstraint

GROUP = "kubescheduler.config.k8s.io/v1"
RATIO_SCALE = 10
"""The shape's scores go to 10, nodes' scores to 100."""


def check_type(args: Fields, plugin: str) -> None:
    """`apiVersion` and `kind` of arguments may be left out."""
    args.text("apiVersion", GROUP, among=(GROUP,))
    args.text("kind", f"{plugin}Args", among=(f"{plugin}Args",))


def node_resources_fit(args: Fields) -> Plugin:
    strategy = args.inner("scoringStrategy")
    kind = strategy.text("type", "LeastAllocated", among=fit.STRATEGIES)
    ratio = strategy.inner("requestedToCapacityRatio")
    shape = _ratio(ratio)
    ratio.end()
    if kind == fit.RATIO and not shape:
        strategy.wrong("requestedToCapacityRatio.shape", "Required value: at least one point must be specified")
        kind = "LeastAllocated"
    resources = _resources(strategy)
    strategy.end()
    ignored = frozenset(args.texts("ignoredResources"))
    return fit.plugin(
        fit.FitArgs(kind, resources or fit.CPU_AND_MEMORY, shape, ignored, tuple(args.texts("ignoredResourceGroups")))
    )


def _resources(fields: Fields, *, heaviest: int = 100) -> tuple[tuple[str, int], ...]:
    found: dict[str, int] = {}
    for item in fields.each("resources"):
        name, weight = item.text("name"), item.number("weight", 1, high=heaviest) or 1
        item.end()
        if not name or name in found:
            item.wrong("name", f'Duplicate value: "{name}"' if name else "Required value")
        found[name] = weight
    return tuple(found.items())


def _ratio(fields: Fields) -> tuple[tuple[int, int], ...]:
    points: list[tuple[int, int]] = []
    for item in fields.each("shape"):
        utilization, score = item.number("utilization", 0, high=100), item.number("score", 0, high=RATIO_SCALE)
        item.end()
        if points and utilization <= points[-1][0]:
            item.wrong("utilization", f"Invalid value: {utilization}: values must be sorted in increasing order")
        points.append((utilization, score * RATIO_SCALE))
    return tuple(points)


def balanced_allocation(args: Fields) -> Plugin:
    resources = tuple(name for name, _ in _resources(args, heaviest=1))
    return balanced.plugin(resources or balanced.CPU_AND_MEMORY)


def node_affinity(args: Fields) -> Plugin:
    added = args.inner("addedAffinity")
    required = None
    if "requiredDuringSchedulingIgnoredDuringExecution" in added:
        selector = added.inner("requiredDuringSchedulingIgnoredDuringExecution")
        required = tuple(_node_term(term) for term in selector.each("nodeSelectorTerms"))
        if not required:
            selector.wrong("nodeSelectorTerms", "Required value: must have at least one node selector term")
        selector.end()
    preferred = []
    for item in added.each("preferredDuringSchedulingIgnoredDuringExecution"):
        preferred.append(Preferred(item.number("weight", 1, low=1, high=100), _node_term(item.inner("preference"))))
        item.end()
    added.end()
    return nodes.plugin(nodes.AddedAffinity(required, tuple(preferred)))


def _node_term(term: Fields) -> NodeTerm:
    found = {}
    for name in ("matchExpressions", "matchFields"):
        items = []
        for item in term.each(name):
            operators = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
            operator = item.text("operator", "In", among=operators)
            items.append({"key": item.text("key"), "operator": operator, "values": item.texts("values")})
            item.end()
        found[name] = items
    term.end()
    return node_term(found)


def pod_topology_spread(args: Fields) -> Plugin:
    kind = args.text("defaultingType", "System", among=("System", "List"))
    constraints = tuple(_constraint(item) for item in args.each("defaultConstraints"))
    if kind == "System" and constraints:
        args.wrong("defaultingType", 'Invalid value: "System": when .defaultConstraints are not empty')
    return spread.plugin(spread.SYSTEM_DEFAULTS if kind == "System" else constraints, system=kind == "System")


def _constraint(item: Fields) -> SpreadConstraint:
    key = item.text("topologyKey")
    if not key:
        item.wrong("topologyKey", "Required value: can not be empty")
    if "labelSelector" in item:
        item.wrong("labelSelector", "Forbidden: constraint must not define a selector, as they deduced for each pod")
    item.raw("labelSelector")
    made = SpreadConstraint(
        max_skew=item.number("maxSkew", 1, low=1),
        topology_key=key,
        selector=None,
        hard=item.text("whenUnsatisfiable", among=("DoNotSchedule", "ScheduleAnyway")) == "DoNotSchedule",
        min_domains=item.number("minDomains", 1, low=1),
        honor_affinity=item.text("nodeAffinityPolicy", "Honor", among=("Honor", "Ignore")) == "Honor",
        honor_taints=item.text("nodeTaintsPolicy", "Ignore", among=("Honor", "Ignore")) == "Honor",
    )
    item.end()
    return made


def inter_pod_affinity(args: Fields) -> Plugin:
    weight = args.number("hardPodAffinityWeight", 1, high=100)
    return pods.plugin(pods.AffinityArgs(weight, args.switch("ignorePreferredTermsOfExistingPods", False)))


def device_binding_timeout(args: Fields, default: float) -> float:
    """Seconds. `filterTimeout` is judged, too: a search ends by the number of devices tried instead."""
    if args.duration("filterTimeout", 0.0) < 0:
        args.wrong("filterTimeout", f'Invalid value: "{args.raw("filterTimeout")}": must be zero or positive')
    found = args.duration("bindingTimeout", default)
    if found < 1:
        args.wrong("bindingTimeout", f'Invalid value: "{args.raw("bindingTimeout")}": must be at least 1 second')
    return found


def preemption(args: Fields) -> PreemptionArgs:
    percentage = args.number("minCandidateNodesPercentage", 10, high=100)
    at_least = args.number("minCandidateNodesAbsolute", 100)
    if not percentage and not at_least:
        for name, other in (("Percentage", "Absolute"), ("Absolute", "Percentage")):
            detail = f"cannot be zero at the same time as minCandidateNodes{other}"
            args.wrong(f"minCandidateNodes{name}", f"Invalid value: 0: {detail}")
    return PreemptionArgs(percentage, at_least)
