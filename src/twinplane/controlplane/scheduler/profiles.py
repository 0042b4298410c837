"""Profiles: which plugins decide for the pods of one `schedulerName`, with what weights and arguments.

Read from a KubeSchedulerConfiguration's `profiles`. Plugins that decide nothing here (queue sorting, the binder) are
accepted by name, since files list them; extension points are folded into the few that the core has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from twinplane.controlplane.scheduler import plugin_args, preemption
from twinplane.controlplane.scheduler.decoding import Fields
from twinplane.controlplane.scheduler.framework import Plugin
from twinplane.controlplane.scheduler.plugins import (
    DEFAULT_PLUGINS,
    balanced_allocation,
    dynamic_resources,
    image_locality,
    inter_pod_affinity,
    node_affinity,
    node_resources_fit,
    pod_topology_spread,
    volume_binding,
)
from twinplane.controlplane.scheduler.preemption import DEFAULT_PREEMPTION, PreemptionArgs

DEFAULT_NAME = "default-scheduler"
PASSIVE = frozenset({"SchedulingGates", "PrioritySort", "DefaultBinder", preemption.PLUGIN_NAME})
"""Upstream's default plugins that are part of the queue and the loop; of them only preemption can be switched off."""
KNOWN = frozenset(plugin.name for plugin in DEFAULT_PLUGINS) | PASSIVE
POINTS: Mapping[str, str] = {
    "preFilter": "filter",
    "filter": "filter",
    "preScore": "score",
    "score": "score",
    "postFilter": "postFilter",
    "preEnqueue": "",
    "queueSort": "queueSort",
    "reserve": "",
    "permit": "",
    "preBind": "",
    "bind": "bind",
    "postBind": "",
}
"""Upstream's extension points -> those that make a difference here."""
_JUDGES = frozenset(plugin.name for plugin in DEFAULT_PLUGINS) - {balanced_allocation.NAME, image_locality.NAME}
_ALIKE = frozenset({"NodeUnschedulable", "NodeName", "TaintToleration"})
_RANKERS = frozenset(
    {"TaintToleration", "NodeAffinity", "NodeResourcesFit", "PodTopologySpread", "InterPodAffinity", "VolumeBinding"}
) | {balanced_allocation.NAME}
_CLAIMANTS = frozenset({volume_binding.NAME, dynamic_resources.NAME})
EXTENDS: Mapping[str, frozenset[str]] = {
    "preFilter": _JUDGES - _ALIKE,
    "filter": _JUDGES,
    "preScore": _RANKERS,
    "score": _RANKERS | {image_locality.NAME, dynamic_resources.NAME},
    "postFilter": frozenset({preemption.PLUGIN_NAME, dynamic_resources.NAME}),
    "preEnqueue": frozenset({"SchedulingGates", preemption.PLUGIN_NAME, dynamic_resources.NAME}),
    "queueSort": frozenset({"PrioritySort"}),
    "reserve": _CLAIMANTS,
    "permit": frozenset(),
    "preBind": _CLAIMANTS,
    "bind": frozenset({"DefaultBinder"}),
    "postBind": frozenset(),
}
"""Extension point -> the plugins that can be enabled there."""
INDISPENSABLE = {
    "queueSort": 'only one queue sort plugin required for profile with scheduler name "{}", but got 0',
    "bind": 'at least one bind plugin is needed for profile with scheduler name "{}"',
}


class BindTimeouts(NamedTuple):
    """Seconds that a pod's claims may take to be bound, and its devices to become ready."""

    volumes: float = 600
    devices: float = 600


DEFAULT_TIMEOUTS = BindTimeouts()


@dataclass(frozen=True, slots=True)
class Profile:
    name: str = DEFAULT_NAME
    plugins: tuple[Plugin, ...] = DEFAULT_PLUGINS
    preemption: PreemptionArgs | None = DEFAULT_PREEMPTION
    """None when DefaultPreemption is switched off."""
    timeouts: BindTimeouts = DEFAULT_TIMEOUTS


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

    def apply(self, fields: Fields, point: str = "multiPoint") -> None:
        for item in fields.each("disabled"):
            name = item.text("name")
            item.raw("weight")
            item.end()
            if name == "*":
                self.on.clear()
            else:
                self.on.pop(name, None)
        seen: set[str] = set()
        for item in fields.each("enabled"):
            name, weight = item.text("name"), item.number("weight", 0)
            item.end()
            kind = f"{point[0].upper()}{point[1:]}Plugin"
            if name not in KNOWN:
                item.wrong("name", f'{kind} "{name}" does not exist')
            elif name not in EXTENDS.get(point, KNOWN):
                item.wrong("name", f'plugin "{name}" does not extend {kind} plugin')
            elif name in seen:
                item.wrong("name", f'plugin "{name}" already registered as "{kind}"')
            else:
                self.on[name] = weight or self.on.get(name)
            seen.add(name)
        fields.end()


def read(fields: Fields) -> Profile:
    name = fields.text("schedulerName", DEFAULT_NAME)
    fields.number("percentageOfNodesToScore", 0, high=100)
    configured, preemption_args, timeouts = _configured(fields)
    points = _points(fields.inner("plugins"))
    for point, problem in INDISPENSABLE.items():
        if EXTENDS[point].isdisjoint(points[point].on):
            fields.wrong("plugins", problem.format(name))
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
    return Profile(name, kept, preemption_args if preempts else None, timeouts)


def _points(fields: Fields) -> dict[str, _Switches]:
    everywhere = _Switches(dict.fromkeys(KNOWN))
    everywhere.apply(fields.inner("multiPoint"))
    points = {point: _Switches(dict(everywhere.on)) for point in POINTS.values()}
    for name, point in POINTS.items():
        points[point].apply(fields.inner(name), name)
    fields.end()
    return points


def _configured(fields: Fields) -> tuple[dict[str, Plugin], PreemptionArgs, BindTimeouts]:
    plugins: dict[str, Plugin] = {}
    preemption_args, timeouts = DEFAULT_PREEMPTION, DEFAULT_TIMEOUTS
    seen: set[str] = set()
    for item in fields.each("pluginConfig"):
        name, args = item.text("name"), item.inner("args")
        item.end()
        if name in seen:
            item.wrong("name", f'Duplicate value: "{name}"')
        seen.add(name)
        plugin_args.check_type(args, name)
        if name in ARGS:
            plugins[name] = ARGS[name](args)
        elif name == preemption.PLUGIN_NAME:
            preemption_args = plugin_args.preemption(args)
        elif name == volume_binding.NAME:
            timeouts = timeouts._replace(volumes=args.number("bindTimeoutSeconds", int(DEFAULT_TIMEOUTS.volumes)))
            if "shape" in args:
                detail = "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring"
                args.wrong("shape", f"Invalid value: {detail}")
            args.raw("shape")
        elif name == dynamic_resources.NAME:
            ready = plugin_args.device_binding_timeout(args, DEFAULT_TIMEOUTS.devices)
            timeouts = timeouts._replace(devices=ready)
        elif name not in KNOWN:
            item.wrong("name", f'there is no plugin "{name}"')
            continue
        args.end()
    return plugins, preemption_args, timeouts
