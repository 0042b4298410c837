"""What the simulated kubelet reads from a pod's spec, once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twinplane.dataplane.simulation.environment import environment_of, expanded
from twinplane.dataplane.simulation.process_outcome import FOREVER, Outcome, outcome, outcome_of
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.quantity import parse

ANNOTATIONS = "simulation.twinplane.io/"
DEFAULT_GRACE_SECONDS = 30


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

    @property
    def main(self) -> list[ContainerSpec]:
        return [container for container in self.containers if container.kind == "main"]

    @property
    def runs_to_completion(self) -> bool:
        return self.restart_policy in ("Never", "OnFailure")


def pod_spec(body: Object) -> PodSpec:
    metadata, spec = body["metadata"], body["spec"]
    annotations = metadata.get("annotations") or {}
    grace = spec.get("terminationGracePeriodSeconds")
    run_seconds = _number(annotations.get(f"{ANNOTATIONS}run-seconds"))
    exit_code = _number(annotations.get(f"{ANNOTATIONS}exit-code"))
    return PodSpec(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        node=spec["nodeName"],
        containers=tuple(_containers(spec, body)),
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
    )


def _number(text: str | None) -> float | None:
    """Annotations are free text: what is no number counts as absent."""
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _containers(spec: dict[str, Any], body: Object) -> list[ContainerSpec]:
    found = [
        _container(item, "sidecar" if item.get("restartPolicy") == "Always" else "init", body)
        for item in spec.get("initContainers") or ()
    ]
    found += [_container(item, "main", body) for item in spec.get("containers") or ()]
    return found + ephemeral_containers(body)


def ephemeral_containers(body: Object) -> list[ContainerSpec]:
    """Those that `kubectl debug` adds while the pod runs."""
    return [_container(item, "ephemeral", body) for item in body["spec"].get("ephemeralContainers") or ()]


def _container(item: dict[str, Any], kind: str, body: Object) -> ContainerSpec:
    probes = [item.get("startupProbe"), item.get("readinessProbe")]
    ports = tuple(
        (port.get("name") or "", int(port["containerPort"]), int(port.get("hostPort") or 0))
        for port in item.get("ports") or ()
        if port.get("protocol", "TCP") == "TCP"
    )
    image = item.get("image") or ""
    return ContainerSpec(
        name=item["name"],
        image=image,
        kind=kind,
        ready_after=sum(_passes_after(probe) for probe in probes if probe),
        ports=ports,
        pull_always=item.get("imagePullPolicy") == "Always",
        outcome=_outcome(item, body),
    )


def _passes_after(probe: dict[str, Any]) -> float:
    """Seconds; infinite for a probe whose command is known to fail."""
    command = (probe.get("exec") or {}).get("command") or ()
    found = outcome(command, {})
    if found is not None and found.code:
        return FOREVER
    return float(probe.get("initialDelaySeconds") or 0)


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
