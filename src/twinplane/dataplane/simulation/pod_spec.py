"""What the simulated kubelet reads from a pod's spec, once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from twinplane.dataplane.simulation.environment import environment_of, expanded
from twinplane.dataplane.simulation.kubelet_admission import is_critical, requests_of
from twinplane.dataplane.simulation.process_outcome import FOREVER, Outcome, outcome, outcome_of
from twinplane.dataplane.simulation.stages import EXIT_CODE_MAX
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.quantity import parse

ANNOTATIONS = "simulation.twinplane.io/"
DEFAULT_GRACE_SECONDS = 30
RUN_SECONDS_MAX = 1e9
SHARED_MAX = 10_000
"""Different lists of containers remembered."""
PERIOD_SECONDS, FAILURES = 10.0, 3
"""Of a probe that does not say."""


class RestartRule(NamedTuple):
    """After these exit codes, or after all others, the container is started again, or the pod's containers all are."""

    codes: frozenset[int]
    within: bool
    everything: bool

    def matches(self, code: int) -> bool:
        return (code in self.codes) == self.within


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    name: str
    image: str
    kind: str
    """init, sidecar (an init container that keeps running), main or ephemeral."""
    ready_after: float
    """Seconds from start to ready: the probes' initial delays."""
    ports: tuple[tuple[str, int, int], ...]
    """(name, container port, host port) of TCP ports."""
    pull_always: bool
    outcome: Outcome | None
    """What becomes of its command, where that can be told."""
    unhealthy_after: float = FOREVER
    """Seconds from its start until it is restarted for a startup or liveness probe that is known to fail."""
    failing_probe: str = ""
    """startup or liveness."""
    stop_seconds: float = 0.0
    """What its preStop hook takes."""
    restart_policy: str = ""
    """Empty for the pod's."""
    restart_rules: tuple[RestartRule, ...] = ()

    def rule_after(self, code: int) -> RestartRule | None:
        """The first that matches holds."""
        return next((rule for rule in self.restart_rules if rule.matches(code)), None)


@dataclass(frozen=True, slots=True)
class PodSpec:
    uid: str
    namespace: str
    name: str
    node: str
    containers: tuple[ContainerSpec, ...]
    """In the order in which they start: init containers and sidecars, then the main ones."""
    restart_policy: str
    host_network: bool
    grace_seconds: float
    qos_class: str
    readiness_gates: tuple[str, ...]
    run_seconds: float | None
    """How long main containers run, from annotation `run-seconds`; None for the default of the restart policy."""
    exit_code: int | None
    """Annotation `exit-code`; None leaves it to the container's command."""
    crash_loop: bool
    """Annotation `crash-loop: "true"`: main containers fail over and over."""
    image_pull_error: bool
    """Annotation `image-pull-error: "true"`: no image can be pulled."""
    generation: int
    critical: bool = False
    """Never evicted."""
    active_deadline: float | None = None
    """Seconds from the pod's start after which it fails."""

    @property
    def main(self) -> list[ContainerSpec]:
        return [container for container in self.containers if container.kind == "main"]

    @property
    def runs_to_completion(self) -> bool:
        return self.restart_policy in ("Never", "OnFailure")


class Replicas:
    """Replicas share what is known of their containers, as `Records` lets them share what it is read from."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[object, object, tuple[ContainerSpec, ...] | None, dict[str, int]]] = {}
        """By the identity of the lists of containers, which are kept so that it stays theirs."""

    def containers(self, body: Object) -> tuple[ContainerSpec, ...]:
        found = self._of(body)[2]
        return tuple(_containers(body["spec"], body)) if found is None or _has_ephemeral(body) else found

    def requests(self, body: Object) -> dict[str, int]:
        """Nobody changes it."""
        return self._of(body)[3]

    def _of(self, body: Object) -> tuple[object, object, tuple[ContainerSpec, ...] | None, dict[str, int]]:
        spec = body["spec"]
        init, main = spec.get("initContainers"), spec.get("containers")
        known = self._known.get((id(init), id(main)))
        if known is None:
            if len(self._known) >= SHARED_MAX:
                self._known.clear()
            # With variables, what becomes of a command may depend on the pod's name and the like.
            own = any("env" in item for item in (*(init or ()), *(main or ())))
            containers = None if own else tuple(_regular(spec, body))
            known = self._known[id(init), id(main)] = (init, main, containers, requests_of(body))
        return known


def _has_ephemeral(body: Object) -> bool:
    return bool(body["spec"].get("ephemeralContainers"))


def pod_spec(body: Object, replicas: Replicas | None = None) -> PodSpec:
    metadata, spec = body["metadata"], body["spec"]
    annotations = metadata.get("annotations") or {}
    grace = spec.get("terminationGracePeriodSeconds")
    run_seconds = _number(annotations.get(f"{ANNOTATIONS}run-seconds"), RUN_SECONDS_MAX)
    exit_code = _number(annotations.get(f"{ANNOTATIONS}exit-code"), EXIT_CODE_MAX)
    return PodSpec(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        node=spec["nodeName"],
        containers=replicas.containers(body) if replicas is not None else tuple(_containers(spec, body)),
        restart_policy=spec.get("restartPolicy") or "Always",
        host_network=bool(spec.get("hostNetwork")),
        grace_seconds=DEFAULT_GRACE_SECONDS if grace is None else float(grace),
        qos_class=(body.get("status") or {}).get("qosClass") or qos_class(spec),
        readiness_gates=tuple(gate["conditionType"] for gate in spec.get("readinessGates") or ()),
        run_seconds=run_seconds,
        exit_code=None if exit_code is None else int(exit_code),
        crash_loop=annotations.get(f"{ANNOTATIONS}crash-loop") == "true",
        image_pull_error=annotations.get(f"{ANNOTATIONS}image-pull-error") == "true",
        generation=metadata.get("generation") or 0,
        critical=is_critical(body),
        active_deadline=spec.get("activeDeadlineSeconds"),
    )


def _number(text: str | None, most: float) -> float | None:
    """Annotations are free text: what is no number, or none that makes sense, counts as absent."""
    try:
        found = float(text or "")
    except ValueError:
        return None
    return found if 0 <= found <= most else None


def _containers(spec: dict[str, Any], body: Object) -> list[ContainerSpec]:
    return _regular(spec, body) + ephemeral_containers(body)


def _regular(spec: dict[str, Any], body: Object) -> list[ContainerSpec]:
    found = [
        _container(item, "sidecar" if item.get("restartPolicy") == "Always" else "init", body)
        for item in spec.get("initContainers") or ()
    ]
    return found + [_container(item, "main", body) for item in spec.get("containers") or ()]


def ephemeral_containers(body: Object) -> list[ContainerSpec]:
    """Those that `kubectl debug` adds while the pod runs."""
    return [_container(item, "ephemeral", body) for item in body["spec"].get("ephemeralContainers") or ()]


def _container(item: dict[str, Any], kind: str, body: Object) -> ContainerSpec:
    startup, readiness = item.get("startupProbe"), item.get("readinessProbe")
    failing, unhealthy_after = _failing(startup, item.get("livenessProbe"))
    ports = tuple(
        (port.get("name") or "", int(port["containerPort"]), int(port.get("hostPort") or 0))
        for port in item.get("ports") or ()
        if port.get("protocol", "TCP") == "TCP"
    )
    return ContainerSpec(
        name=item["name"],
        image=item.get("image") or "",
        kind=kind,
        ready_after=sum(_passes_after(probe) for probe in (startup, readiness) if probe),
        ports=ports,
        pull_always=item.get("imagePullPolicy") == "Always",
        outcome=_outcome(item, body),
        unhealthy_after=unhealthy_after,
        failing_probe=failing,
        stop_seconds=_stop_seconds((item.get("lifecycle") or {}).get("preStop") or {}),
        restart_policy=item.get("restartPolicy") or "",
        restart_rules=tuple(_restart_rules(item.get("restartPolicyRules") or ())),
    )


def _restart_rules(items: Iterable[dict[str, Any]]) -> Iterator[RestartRule]:
    for item in items:
        if codes := item.get("exitCodes"):
            within, everything = codes.get("operator") == "In", item.get("action") == "RestartAllContainers"
            yield RestartRule(frozenset(codes.get("values") or ()), within, everything)


def _passes_after(probe: dict[str, Any]) -> float:
    """Seconds; infinite for a probe whose command is known to fail."""
    return FOREVER if _fails(probe) else float(probe.get("initialDelaySeconds") or 0)


def _fails(probe: dict[str, Any]) -> bool:
    found = outcome((probe.get("exec") or {}).get("command") or (), {})
    return found is not None and found.code != 0


def _failing(startup: dict[str, Any] | None, liveness: dict[str, Any] | None) -> tuple[str, float]:
    """The probe that is known to fail, if any, and the seconds until its threshold is reached."""
    for name, probe, begins in (
        ("startup", startup, 0.0),
        ("liveness", liveness, _passes_after(startup) if startup else 0.0),
    ):
        if probe and _fails(probe):
            tries = int(probe.get("failureThreshold") or FAILURES) - 1
            delay = float(probe.get("initialDelaySeconds") or 0)
            return name, begins + delay + tries * float(probe.get("periodSeconds") or PERIOD_SECONDS)
    return "", FOREVER


def _stop_seconds(hook: dict[str, Any]) -> float:
    """Of a preStop hook: what it sleeps, or what can be told of its command; else it is taken as done at once."""
    if "sleep" in hook:
        return float(hook["sleep"].get("seconds") or 0)
    found = outcome((hook.get("exec") or {}).get("command") or (), {})
    return found.seconds if found is not None else 0.0


def _outcome(item: dict[str, Any], body: Object) -> Outcome | None:
    environment = environment_of(item, body, {})
    command, arguments = (
        [expanded(word, environment) for word in item.get(field) or ()] for field in ("command", "args")
    )
    return outcome_of(item.get("image") or "", command, arguments, environment)


def qos_class(spec: dict[str, Any]) -> str:
    """Guaranteed when every container limits CPU and memory to what it requests, BestEffort when none says anything."""
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    resources = [container.get("resources") or {} for container in containers]
    wanted = [(item.get("requests") or {}, item.get("limits") or {}) for item in resources]
    if not any(_compute(requests) or _compute(limits) for requests, limits in wanted):
        return "BestEffort"
    guaranteed = all(
        name in limits and parse(limits[name]) == parse(requests.get(name, limits[name]))
        for requests, limits in wanted
        for name in ("cpu", "memory")
    )
    return "Guaranteed" if guaranteed else "Burstable"


def _compute(quantities: dict[str, Any]) -> bool:
    return any(name in quantities and parse(quantities[name]) for name in ("cpu", "memory"))
