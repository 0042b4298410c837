"""Profiles: which plugins decide for the pods of one `schedulerName`, with what weights and arguments.

Read from a KubeSchedulerConfiguration's `profiles`. Plugins that decide nothing here (queue sorting, the binder) are
accepted by name, since files list them; extension points are folded into the two that the core has, filter and score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from twinplane.controlplane.scheduler import plugin_args, preemption
from twinplane.controlplane.scheduler.decoding import Fields
from twinplane.controlplane.scheduler.framework import Plugin
from twinplane.controlplane.scheduler.plugins import (
    DEFAULT_PLUGINS,
    balanced_allocation,
    dynamic_resources,
    inter_pod_affinity,
    node_affinity,
    node_resources_fit,
    pod_topology_spread,
    volume_binding,
)
from twinplane.controlplane.scheduler.preemption import DEFAULT_PREEMPTION, PreemptionArgs

DEFAULT_NAME = "default-scheduler"
PASSIVE = frozenset(
    {"SchedulingGates", "PrioritySort", "DefaultBinder", "NodeDeclaredFeatures", preemption.PLUGIN_NAME}
)
"""Upstream's default plugins that are part of the queue and the loop, or that all nodes here satisfy; of them only
preemption can be switched off.
"""
KNOWN = frozenset(plugin.name for plugin in DEFAULT_PLUGINS) | PASSIVE
FILTER_POINTS = ("preFilter", "filter")
SCORE_POINTS = ("preScore", "score")
OTHER_POINTS = ("preEnqueue", "queueSort", "reserve", "permit", "preBind", "bind", "postBind")
BIND_TIMEOUT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Profile:
    name: str = DEFAULT_NAME
    plugins: tuple[Plugin, ...] = DEFAULT_PLUGINS
    preemption: PreemptionArgs | None = DEFAULT_PREEMPTION
    """None when DefaultPreemption is switched off."""
    bind_timeout: int = BIND_TIMEOUT_SECONDS
    """Seconds that a pod's claims may take to be bound."""


ARGS: Mapping[str, Callable[[Fields], Plugin]] = {
    node_resources_fit.NAME: plugin_args.node_resources_fit,
    balanced_allocation.NAME: plugin_args.balanced_allocation,
    node_affinity.NAME: plugin_args.node_affinity,
    pod_topology_spread.NAME: plugin_args.pod_topology_spread,
    inter_pod_affinity.NAME: plugin_args.inter_pod_affinity,
}
"""Plugin -> reader of its arguments (`<plugin>Args`)."""


@dataclass
class _Switches:
    """What a profile's `plugins` leave of the defaults: plugin -> weight, None for its own."""

    on: dict[str, int | None] = field(default_factory=dict)

    def apply(self, fields: Fields) -> None:
        for item in fields.each("disabled"):
            name = item.text("name")
            item.raw("weight")
            item.end()
            if name == "*":
                self.on.clear()
            elif _known(item, name):
                self.on.pop(name, None)
        for item in fields.each("enabled"):
            name, weight = item.text("name"), item.number("weight", 0)
            item.end()
            if _known(item, name):
                self.on[name] = weight or self.on.get(name)
        fields.end()


def _known(fields: Fields, name: str) -> bool:
    if name not in KNOWN:
        fields.wrong("name", f'there is no plugin "{name}"')
    return name in KNOWN


def read(fields: Fields) -> Profile:
    name = fields.text("schedulerName", DEFAULT_NAME)
    fields.number("percentageOfNodesToScore", 0, high=100)
    configured, preemption_args, bind_timeout = _configured(fields)
    points = _points(fields.inner("plugins"))
    fields.end()
    filters, scores, post = points["filter"], points["score"], points["postFilter"]
    plugins = [
        replace(
            plugin,
            weight=scores.on.get(plugin.name) or plugin.weight,
            filters=plugin.name in filters.on,
            scores=plugin.name in scores.on,
        )
        for plugin in (configured.get(plugin.name, plugin) for plugin in DEFAULT_PLUGINS)
    ]
    kept = tuple(plugin for plugin in plugins if plugin.filters or plugin.scores)
    preempts = preemption.PLUGIN_NAME in post.on
    return Profile(name, kept, preemption_args if preempts else None, bind_timeout)


def _points(fields: Fields) -> dict[str, _Switches]:
    everywhere = _Switches(dict.fromkeys(KNOWN))
    everywhere.apply(fields.inner("multiPoint"))
    points = {point: _Switches(dict(everywhere.on)) for point in ("filter", "score", "postFilter")}
    for point, names in (("filter", FILTER_POINTS), ("score", SCORE_POINTS), ("postFilter", ("postFilter",))):
        for name in names:
            points[point].apply(fields.inner(name))
    for name in OTHER_POINTS:
        _Switches().apply(fields.inner(name))
    fields.end()
    return points


def _configured(fields: Fields) -> tuple[dict[str, Plugin], PreemptionArgs, int]:
    plugins: dict[str, Plugin] = {}
    preemption_args, bind_timeout = DEFAULT_PREEMPTION, BIND_TIMEOUT_SECONDS
    seen: set[str] = set()
    for item in fields.each("pluginConfig"):
        name, args = item.text("name"), item.inner("args")
        item.end()
        if name in seen:
            item.wrong("name", f'duplicate plugin "{name}"')
        seen.add(name)
        plugin_args.check_type(args, name)
        if name in ARGS:
            plugins[name] = ARGS[name](args)
        elif name == preemption.PLUGIN_NAME:
            preemption_args = plugin_args.preemption(args)
        elif name == volume_binding.NAME:
            bind_timeout = args.number("bindTimeoutSeconds", BIND_TIMEOUT_SECONDS)
            args.raw("shape")
        elif name == dynamic_resources.NAME:
            args.raw("filterTimeout")
            args.raw("bindingTimeout")
        elif not _known(item, name):
            continue
        args.end()
    return plugins, preemption_args, bind_timeout
