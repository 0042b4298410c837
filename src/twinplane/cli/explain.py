"""explain pod: every node's verdict and score for a pod, plugin by plugin.

Everything is read over the API with the user's own rights, and judged here by the core that the scheduler runs; so it
explains pods of any cluster, and changes nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

from twinplane.cli.command import Command, output_flag
from twinplane.cli.kube_access import client_of, kubeconfig_flags
from twinplane.cli.output import CommandError, print_document, print_table
from twinplane.controlplane.scheduler import configuration
from twinplane.controlplane.scheduler.cluster_view import ClusterView, view_of_lists
from twinplane.controlplane.scheduler.configuration import SchedulerConfiguration
from twinplane.controlplane.scheduler.decoding import BadSchedulerConfiguration
from twinplane.controlplane.scheduler.explain import Verdict, explain
from twinplane.controlplane.scheduler.planner import Decision, plan
from twinplane.controlplane.scheduler.profiles import Profile
from twinplane.controlplane.scheduler.shape import Pod, Shapes
from twinplane.kubeclient.contract import KubeClient, Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.resources import DEVICE_TAINT_RULES, NODES, PODS

PAGE = 500
INDISPENSABLE = (NODES, PODS)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="name of the pod")
    parser.add_argument("-n", "--namespace", metavar="NS", help="its namespace (default: that of the context)")
    parser.add_argument("--scheduler-config", metavar="FILE", help="KubeSchedulerConfiguration to judge by")
    kubeconfig_flags(parser)
    output_flag(parser)


def _run(arguments: argparse.Namespace) -> None:
    try:
        file = arguments.scheduler_config
        settings = configuration.load(Path(file)) if file else SchedulerConfiguration()
    except BadSchedulerConfiguration as error:
        raise CommandError(str(error)) from error
    client, namespace = client_of(arguments)
    try:
        body, profile, view = asyncio.run(_read(client, arguments.name, arguments.namespace or namespace, settings))
    except ApiError as error:
        raise CommandError(str(error)) from error
    except (ConnectionError, TimeoutError) as error:
        raise CommandError(f"the cluster does not answer: {error}") from error
    # Not in there: that our own reader goes away is a ConnectionError as well.
    _tell(body, profile, view, arguments.output)


async def _read(
    client: Any, name: str, namespace: str, settings: SchedulerConfiguration
) -> tuple[Object, Profile, ClusterView]:
    """The pod, the profile that decides for it, and all that matters to it."""
    async with client:
        body = await client.get(PODS, name, namespace)
        pod = Shapes().pod(body)
        profile = next((profile for profile in settings.profiles if profile.name == pod.scheduler), None)
        if profile is None:
            names = ", ".join(profile.name for profile in settings.profiles)
            raise CommandError(f'pod {pod.key} is left to the scheduler "{pod.scheduler}"; known: {names}')
        lists = await asyncio.gather(*(_list(client, resource) for resource in view_of_lists({}).handlers()))
    return body, profile, view_of_lists(dict(lists))


def _tell(body: Object, profile: Profile, view: ClusterView, output: str) -> None:
    # Parsed by the view's own interner, so that the pod shares the shape of its siblings.
    pod = view.shapes.pod(body)
    verdicts = explain(view.snapshot, pod, profile.plugins)
    view.snapshot.remove_pod(pod.uid)
    decision = plan(view.snapshot, [pod], profile.plugins, profile.preemption)[0]
    if output == "table":
        _print(pod, body, verdicts, decision, profile)
    else:
        print_document(_document(pod, verdicts, decision), output)


async def _list(client: KubeClient, resource: Resource) -> tuple[Resource, list[Object]]:
    found: list[Object] = []
    token = ""
    try:
        while True:
            page = await client.list(resource, limit=PAGE, continue_=token)
            found += [{"kind": resource.kind, **item} for item in page.items]
            token = page.continue_
            if not token:
                return resource, found
    except ApiError as error:
        if resource in INDISPENSABLE or error.code not in (403, 404):
            raise
        if resource == DEVICE_TAINT_RULES and error.code == 404:
            # No stable version before Kubernetes 1.37: there are none.
            return resource, []
        print(f"Warning: judged without {resource.plural}: {error}", file=sys.stderr)
        return resource, []


def _print(pod: Pod, body: Object, verdicts: list[Verdict], decision: Decision, profile: Profile) -> None:
    print(f"Pod:        {pod.key}")
    print(f"Scheduler:  {profile.name}, priority {pod.priority}")
    print(f"Node:       {pod.node or _waiting(pod, body)}")
    print(f"Scheduled now it would {_outcome(decision)}\n")
    scorers = list(dict.fromkeys(plugin for verdict in verdicts for plugin in verdict.scores))
    rows = []
    for verdict in verdicts:
        if verdict.feasible:
            scores = [str(verdict.scores.get(plugin, 0)) for plugin in scorers]
            rows.append((verdict.node, "fits", str(verdict.total), *scores))
        else:
            reasons = "; ".join(f"{plugin}: {', '.join(texts)}" for plugin, texts in verdict.refusals.items())
            rows.append((verdict.node, reasons, *[""] * (len(scorers) + 1)))
    print_table(("NODE", "VERDICT", "SCORE", *scorers), rows)


def _waiting(pod: Pod, body: Object) -> str:
    if pod.gates:
        return f"<none>, gated by {', '.join(pod.gates)}"
    nominated = f", {pod.nominated} is promised" if pod.nominated else ""
    return f"<none>{nominated}"


def _outcome(decision: Decision) -> str:
    if decision.node is not None:
        return f"go to {decision.node}."
    if decision.victims:
        victims = ", ".join(victim.key for victim in decision.victims)
        return f"preempt {victims} on {decision.nominated}: {decision.message}"
    return f"wait: {decision.message}"


def _document(pod: Pod, verdicts: list[Verdict], decision: Decision) -> dict[str, Any]:
    return {
        "pod": pod.key,
        "node": decision.node,
        "message": decision.message,
        "nominatedNode": decision.nominated,
        "victims": [victim.key for victim in decision.victims],
        "nodes": [
            {
                "node": verdict.node,
                "feasible": verdict.feasible,
                "score": verdict.total,
                "scores": verdict.scores,
                "refusals": {plugin: list(reasons) for plugin, reasons in verdict.refusals.items()},
            }
            for verdict in verdicts
        ],
    }


POD = Command("Show every node's verdict and score for a pod, plugin by plugin", _arguments, _run)
