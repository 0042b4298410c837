"""KubeSchedulerConfiguration: what it changes, and what is told of its mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.scheduler.builders import HOSTNAME, ZONE, World, node, pod, required_affinity, required_anti_affinity
from twinplane.controlplane.scheduler.configuration import SchedulerConfiguration, load, parse
from twinplane.controlplane.scheduler.decoding import BadSchedulerConfiguration
from twinplane.controlplane.scheduler.planner import Planner
from twinplane.controlplane.scheduler.plugins import DEFAULT_PLUGINS, node_resources_fit
from twinplane.controlplane.scheduler.plugins.node_resources_fit import FitArgs
from twinplane.controlplane.scheduler.profiles import Profile
from twinplane.controlplane.scheduler.requirements import equalities
from twinplane.kubeclient.contract import Object

HEAD = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}


def profile_of(**fields: Any) -> Profile:
    return parse({**HEAD, "profiles": [fields]}).profiles[0]


def with_args(plugin: str, **args: Any) -> Profile:
    return profile_of(pluginConfig=[{"name": plugin, "args": args}])


def place(world: World, profile: Profile, body: Object) -> str | None:
    planner = Planner(world.snapshot, profile.plugins, profile.preemption)
    return planner.place(world.parse(body)[0]).node


def message(world: World, profile: Profile, body: Object) -> str:
    planner = Planner(world.snapshot, profile.plugins, profile.preemption)
    return planner.place(world.parse(body)[0]).message


def test_the_least_file_is_the_default() -> None:
    found = parse(HEAD)
    assert found == SchedulerConfiguration()
    assert found.profiles[0].plugins == DEFAULT_PLUGINS


def test_a_usual_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "scheduler.yaml"
    path.write_text(
        """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection: {leaderElect: false}
clientConnection: {kubeconfig: /etc/kubernetes/scheduler.conf}
percentageOfNodesToScore: 50
podInitialBackoffSeconds: 2
podMaxBackoffSeconds: 20
profiles:
- schedulerName: default-scheduler
- schedulerName: packer
  pluginConfig:
  - name: NodeResourcesFit
    args:
      apiVersion: kubescheduler.config.k8s.io/v1
      kind: NodeResourcesFitArgs
      scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 1}]}
  plugins:
    score:
      disabled: [{name: NodeResourcesBalancedAllocation}]
      enabled: [{name: ImageLocality, weight: 5}]
"""
    )
    found = load(path)
    assert (found.backoff_first, found.backoff_max) == (2, 20)
    assert [profile.name for profile in found.profiles] == ["default-scheduler", "packer"]
    plugins = {plugin.name: plugin for plugin in found.profiles[1].plugins}
    assert not plugins["NodeResourcesBalancedAllocation"].scores
    assert plugins["ImageLocality"].weight == 5


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"apiVersion": "v1"}, 'apiVersion: must be "kubescheduler.config.k8s.io/v1", not "v1"'),
        ({"profile": []}, 'unknown field "profile"'),
        ({"profiles": {}}, "profiles: must be a list, not an object"),
        ({"profiles": [{"name": "x"}]}, 'unknown field "profiles[0].name"'),
        ({"profiles": [{}, {}]}, 'profiles[1].schedulerName: Duplicate value: "default-scheduler"'),
        (
            {"percentageOfNodesToScore": 101},
            "percentageOfNodesToScore: Invalid value: 101: not in valid range [0, 100]",
        ),
        ({"podInitialBackoffSeconds": 0}, "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0"),
        ({"parallelism": 0}, "parallelism: Invalid value: 0: must be greater than 0"),
        ({"podInitialBackoffSeconds": "1"}, "podInitialBackoffSeconds: must be an integer, not a string"),
        ({"podMaxBackoffSeconds": True}, "podMaxBackoffSeconds: must be an integer, not a boolean"),
        (
            {"podInitialBackoffSeconds": 60},
            "Invalid value: 10: must be greater than or equal to PodInitialBackoffSeconds",
        ),
        ({"extenders": [{}]}, "extenders: scheduler extenders are not supported"),
        (
            {"profiles": [{"plugins": {"score": {"enabled": [{"name": "Nope"}]}}}]},
            'profiles[0].plugins.score.enabled[0].name: ScorePlugin "Nope" does not exist',
        ),
        (
            {"profiles": [{"plugins": {"score": {"enabled": [{"name": "NodeName"}]}}}]},
            'enabled[0].name: plugin "NodeName" does not extend ScorePlugin plugin',
        ),
        (
            {"profiles": [{"plugins": {"filter": {"enabled": [{"name": "NodeName"}, {"name": "NodeName"}]}}}]},
            'enabled[1].name: plugin "NodeName" already registered as "FilterPlugin"',
        ),
        (
            {"profiles": [{"plugins": {"bind": {"disabled": [{"name": "*"}]}}}]},
            'plugins: at least one bind plugin is needed for profile with scheduler name "default-scheduler"',
        ),
        (
            {"profiles": [{"pluginConfig": [{"name": "VolumeBinding", "args": {"shape": []}}]}]},
            "args.shape: Invalid value: unexpected field `shape`, remove it",
        ),
        (
            {"profiles": [{"pluginConfig": [{"name": "DynamicResources", "args": {"bindingTimeout": "900ms"}}]}]},
            'args.bindingTimeout: Invalid value: "900ms": must be at least 1 second',
        ),
        (
            {"profiles": [{"pluginConfig": [{"name": "DynamicResources", "args": {"bindingTimeout": "soon"}}]}]},
            'args.bindingTimeout: time: invalid duration "soon"',
        ),
        (
            {"profiles": [{"pluginConfig": [{"name": "DynamicResources", "args": {"filterTimeout": "-1s"}}]}]},
            'args.filterTimeout: Invalid value: "-1s": must be zero or positive',
        ),
        (
            {"profiles": [{"plugins": {"scores": {}}}]},
            'unknown field "profiles[0].plugins.scores"',
        ),
        (
            {"profiles": [{"pluginConfig": [{"name": "NodeAffinity", "args": {"added": {}}}]}]},
            'unknown field "profiles[0].pluginConfig[0].args.added"',
        ),
        (
            {"profiles": [{"pluginConfig": [{"name": "NodeAffinity", "args": {"kind": "Other"}}]}]},
            'Unsupported value: "Other": supported values: "NodeAffinityArgs"',
        ),
        (
            {"profiles": [{"pluginConfig": [{"name": "NodeResourcesFit"}, {"name": "NodeResourcesFit"}]}]},
            'Duplicate value: "NodeResourcesFit"',
        ),
    ],
)
def test_mistakes_are_named(fields: Object, problem: str) -> None:
    with pytest.raises(BadSchedulerConfiguration) as caught:
        parse({**HEAD, **fields})
    assert problem in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(BadSchedulerConfiguration) as caught:
        parse({**HEAD, "a": 1, "b": 2})
    assert str(caught.value).splitlines() == ['unknown field "a"', 'unknown field "b"']


@pytest.mark.parametrize(
    ("plugin", "args", "problem"),
    [
        ("NodeResourcesFit", {"scoringStrategy": {"type": "Best"}}, 'Unsupported value: "Best"'),
        ("NodeResourcesFit", {"scoringStrategy": {"type": "RequestedToCapacityRatio"}}, "at least one point"),
        ("NodeAffinity", {"addedAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}, "at least one"),
        ("InterPodAffinity", {"hardPodAffinityWeight": 101}, "Invalid value: 101: not in valid range [0, 100]"),
        (
            "PodTopologySpread",
            {"defaultConstraints": [{"topologyKey": "z"}]},
            'Invalid value: "System": when .defaultConstraints are not empty',
        ),
        ("DefaultPreemption", {"minCandidateNodesPercentage": 101}, "not in valid range [0, 100]"),
        (
            "DefaultPreemption",
            {"minCandidateNodesPercentage": 0, "minCandidateNodesAbsolute": 0},
            "cannot be zero at the same time as",
        ),
    ],
)
def test_bad_arguments(plugin: str, args: Object, problem: str) -> None:
    with pytest.raises(BadSchedulerConfiguration) as caught:
        with_args(plugin, **args)
    assert problem in str(caught.value)


@pytest.mark.parametrize(("text", "problem"), [("[", "is not YAML"), ("[]", "must be an object, not a list")])
def test_files_that_are_no_configuration(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "scheduler.yaml"
    path.write_text(text)
    with pytest.raises(BadSchedulerConfiguration, match=problem):
        load(path)
    with pytest.raises(BadSchedulerConfiguration, match="cannot read"):
        load(tmp_path / "missing")


# What the arguments do ----------------------------------------------------------------------------------------------


def half_full() -> World:
    world = World(node("empty"), node("half"))
    world.run(pod("there", cpu="2", memory="8Gi"), on="half")
    return world


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ({"type": "LeastAllocated"}, "empty"),
        ({"type": "MostAllocated"}, "half"),
        (
            {
                "type": "RequestedToCapacityRatio",
                "requestedToCapacityRatio": {
                    "shape": [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]
                },
            },
            "half",
        ),
        (
            {
                "type": "RequestedToCapacityRatio",
                "requestedToCapacityRatio": {
                    "shape": [{"utilization": 0, "score": 10}, {"utilization": 100, "score": 0}]
                },
            },
            "empty",
        ),
    ],
)
def test_scoring_strategies(strategy: Object, expected: str) -> None:
    profile = with_args("NodeResourcesFit", scoringStrategy=strategy)
    assert place(half_full(), profile, pod("p", cpu="1", memory="4Gi")) == expected


@pytest.mark.parametrize(
    ("utilization", "score"), [(0, 0), (20, 0), (30, 25), (40, 50), (50, 50), (70, 40), (80, 30), (100, 30)]
)
def test_the_ratio_is_linear_between_points(utilization: int, score: int) -> None:
    shape = ((20, 0), (40, 50), (50, 50), (80, 30), (90, 30))
    if utilization == 70:
        score = 50 + int(-20 * 20 / 30)
    plugin = node_resources_fit.plugin(FitArgs("RequestedToCapacityRatio", (("cpu", 1),), shape))
    world = World(node("a", cpu="100"))
    made = world.parse(pod("p", cpu=str(utilization) if utilization else "1m"))[0]
    check = plugin.check(made.shape, world.snapshot)
    assert check is not None
    assert check.score(world.snapshot.nodes["a"]) == score


def test_extended_resources_may_be_ignored() -> None:
    body = pod("p")
    body["spec"]["containers"][0]["resources"]["requests"]["example.com/gpu"] = "1"
    world = World(node("a"))
    assert "Insufficient example.com/gpu" in message(world, Profile(), body)
    assert place(world, with_args("NodeResourcesFit", ignoredResourceGroups=["example.com"]), body) == "a"


def test_added_affinity_is_required_of_all() -> None:
    term = {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["batch"]}]}
    added = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    profile = with_args("NodeAffinity", addedAffinity=added)
    world = World(node("a"))
    assert "1 node(s) didn't match scheduler-enforced node affinity" in message(world, profile, pod("p"))
    assert place(World(node("a", labels={"pool": "batch"})), profile, pod("p")) == "a"


def test_added_preferences_count() -> None:
    term = {"matchExpressions": [{"key": "pool", "operator": "Exists"}]}
    added = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": term}]}
    profile = with_args("NodeAffinity", addedAffinity=added)
    assert place(World(node("a"), node("b", labels={"pool": "x"})), profile, pod("p")) == "b"


def test_default_constraints_of_a_list() -> None:
    constraint = {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule"}
    profile = with_args("PodTopologySpread", defaultingType="List", defaultConstraints=[constraint])
    world = World(node("a", zone="a", cpu="64"), node("b", zone="b", cpu="1"))
    world.snapshot.surroundings.set_service("default", "web", equalities({"app": "web"}))
    planner = Planner(world.snapshot, profile.plugins)
    bodies = [pod(f"p{number}", cpu="600m", labels={"app": "web"}) for number in range(3)]
    placed = [planner.place(made).node for made in world.parse(*bodies)]
    assert placed == ["a", "b", "a"]
    assert planner.place(world.parse(pod("p3", cpu="600m", labels={"app": "web"}))[0]).node is None


def test_hard_affinity_weight() -> None:
    """A placed pod that requires such company attracts it, unless the weight is nothing."""
    for weight, expected in ((100, "b"), (0, "a")):
        world = World(node("a"), node("b"))
        world.run(pod("db", cpu="500m", affinity=required_affinity(HOSTNAME, {"app": "web"})), on="b")
        profile = with_args("InterPodAffinity", hardPodAffinityWeight=weight)
        assert place(world, profile, pod("p", labels={"app": "web"})) == expected


LEAST = [{"name": "PrioritySort"}, {"name": "DefaultBinder"}]
"""No profile can do without."""


def test_plugins_can_be_switched_off() -> None:
    world = World(node("a", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}]))
    assert place(world, profile_of(plugins={"filter": {"disabled": [{"name": "TaintToleration"}]}}), pod("p")) == "a"
    nothing = {"disabled": [{"name": "*"}], "enabled": LEAST}
    assert place(world, profile_of(plugins={"multiPoint": nothing}), pod("p", cpu="99")) == "a"


def test_only_what_is_enabled() -> None:
    plugins = {"multiPoint": {"disabled": [{"name": "*"}], "enabled": [{"name": "InterPodAffinity"}, *LEAST]}}
    world = World(node("a"))
    world.run(pod("there", labels={"app": "web"}), on="a")
    body = pod("p", cpu="99", affinity=required_anti_affinity(HOSTNAME, {"app": "web"}))
    assert message(world, profile_of(plugins=plugins), body) == (
        "0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules. no new claims to deallocate"
    )


def test_preemption_can_be_switched_off() -> None:
    profile = profile_of(plugins={"postFilter": {"disabled": [{"name": "DefaultPreemption"}]}})
    world = World(node("a", cpu="1"))
    world.run(pod("low", cpu="1"), on="a")
    decision = Planner(world.snapshot, profile.plugins, profile.preemption).place(
        world.parse(pod("high", cpu="1", priority=9))[0]
    )
    assert decision.nominated is None
    assert decision.message == "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate"
