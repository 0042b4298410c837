"""From an Ingress backend to an ELBv2 action, and from a Service behind it to a target group. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from twinplane.controlplane.cloudcontroller.aws import Unbuildable
from twinplane.controlplane.cloudcontroller.elbv2.model import TargetGroupModel, TargetKey, forward, resource_name
from twinplane.controlplane.cloudcontroller.ingress.annotations import Annotations, api_names
from twinplane.controlplane.cloudcontroller.network import ClusterNetwork
from twinplane.controlplane.cloudcontroller.service.network import ip_targets
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import name_of, namespace_of

USE_ANNOTATION = "use-annotation"
VERSIONS = ("HTTP1", "HTTP2", "GRPC")

TargetGroups = dict[str, TargetGroupModel]


@dataclass(frozen=True)
class Backends:
    """What stands behind Ingresses, as the cluster has it now."""

    network: ClusterNetwork
    service: Callable[[str, str], Object | None]
    """(namespace, name)."""
    slices: Callable[[str, str], list[Object]]
    """EndpointSlices of a Service."""
    instances: Callable[[Mapping[str, str]], frozenset[str]]
    """Instances of the nodes that have these labels and receive traffic."""

    def action(
        self, ingress: Object, backend: Mapping[str, Any], groups: TargetGroups, tags: Mapping[str, str]
    ) -> dict[str, Any]:
        """Target groups that it needs are added to `groups`."""
        service = backend.get("service")
        if not service:
            raise Unbuildable('missing required "service" field in backend')
        port = service.get("port") or {}
        if port.get("name") == USE_ANNOTATION:
            return self._annotated(ingress, service["name"], groups, tags)
        return self._forward(ingress, service["name"], port.get("name") or port.get("number"), groups, tags)

    def extra_conditions(self, ingress: Object, backend: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Of the annotation `conditions.SERVICE`."""
        name = (backend.get("service") or {}).get("name", "")
        written = Annotations(ingress).json(f"conditions.{name}")
        return [_condition(entry) for entry in api_names(written)] if isinstance(written, list) else []

    def _annotated(self, ingress: Object, name: str, groups: TargetGroups, tags: Mapping[str, str]) -> dict[str, Any]:
        written = Annotations(ingress).json(f"actions.{name}")
        if not isinstance(written, dict):
            raise Unbuildable(f"missing actions.{name} configuration")
        action: dict[str, Any] = api_names(written)
        kind = action.get("Type")
        if kind in ("redirect", "fixed-response"):
            config = "RedirectConfig" if kind == "redirect" else "FixedResponseConfig"
            settings = {key: str(value) for key, value in (action.get(config) or {}).items()}
            return {"Type": kind, config: settings}
        if kind != "forward":
            raise Unbuildable(f"unknown action type: {kind}")
        if action.get("TargetGroupARN"):
            return {"Type": "forward", "TargetGroupArn": action["TargetGroupARN"]}
        entries = (action.get("ForwardConfig") or {}).get("TargetGroups") or []
        return _weighted([self._weighted_group(ingress, entry, groups, tags) for entry in entries])

    def _weighted_group(
        self, ingress: Object, entry: Mapping[str, Any], groups: TargetGroups, tags: Mapping[str, str]
    ) -> dict[str, Any]:
        weight = int(entry.get("Weight", 1))
        if entry.get("TargetGroupARN"):
            return {"TargetGroupArn": entry["TargetGroupARN"], "Weight": weight}
        port = entry.get("ServicePort")
        number = int(port) if isinstance(port, str) and port.isdigit() else port
        made = self._forward(ingress, str(entry.get("ServiceName", "")), number, groups, tags)
        if made["Type"] != "forward":
            raise Unbuildable(f"service {entry.get('ServiceName')} does not exist")
        return {"TargetGroupArn": made["TargetGroupArn"], "Weight": weight}

    def _forward(
        self, ingress: Object, name: str, port: str | int | None, groups: TargetGroups, tags: Mapping[str, str]
    ) -> dict[str, Any]:
        service = self.service(namespace_of(ingress), name)
        entry = _service_port(service, port) if service is not None else None
        if service is None or entry is None:
            # The real controller serves the rest and answers 503 for this one until the Service is there.
            return _unavailable("Backend service does not exist" if service is None else "Backend port does not exist")
        group = self._target_group(ingress, service, entry, tags)
        groups[group.name] = group
        return forward(group)

    def _target_group(
        self, ingress: Object, service: Object, port: Mapping[str, Any], tags: Mapping[str, str]
    ) -> TargetGroupModel:
        annotations = Annotations(service, ingress)
        target_type = annotations.choice("target-type", "instance", ("instance", "ip"))
        protocol = annotations.choice("backend-protocol", "HTTP", ("HTTP", "HTTPS"))
        version = annotations.choice("backend-protocol-version", "HTTP1", VERSIONS)
        number, targets = self._targets(service, port, target_type, annotations)
        full_name = f"{namespace_of(ingress)}/{name_of(ingress)}-{name_of(service)}:{port.get('name') or port['port']}"
        return TargetGroupModel(
            name=resource_name(
                namespace_of(service),
                name_of(service),
                self.network.cluster,
                full_name,
                target_type,
                protocol,
                version,
                str(number),
            ),
            protocol=protocol,
            port=number,
            vpc_id=self.network.vpc_id,
            target_type=target_type,
            health_check=_health_check(annotations, protocol, version),
            targets=targets,
            tags={**tags, **annotations.pairs("tags"), "ingress.k8s.aws/resource": full_name},
            attributes=annotations.pairs("target-group-attributes"),
            protocol_version=version,
        )

    def _targets(
        self, service: Object, port: Mapping[str, Any], target_type: str, annotations: Annotations
    ) -> tuple[int, frozenset[TargetKey]]:
        if target_type == "ip":
            slices = self.slices(namespace_of(service), name_of(service))
            target = port.get("targetPort", port["port"])
            return target if isinstance(target, int) else 1, ip_targets(slices, str(port.get("name", "")))
        node_port = port.get("nodePort")
        if not node_port:
            kinds = "'NodePort' or 'LoadBalancer'"
            full_name = f"{namespace_of(service)}/{name_of(service)}"
            raise Unbuildable(f"service type must be either {kinds} for instance TargetType: {full_name}")
        instances = self.instances(annotations.pairs("target-node-labels"))
        return int(node_port), frozenset((instance, int(node_port)) for instance in instances)


def _service_port(service: Object, port: str | int | None) -> Mapping[str, Any] | None:
    entries = service.get("spec", {}).get("ports") or []
    key = "name" if isinstance(port, str) else "port"
    return next((entry for entry in entries if entry.get(key) == port), None)


def _unavailable(message: str) -> dict[str, Any]:
    config = {"ContentType": "text/plain", "StatusCode": "503", "MessageBody": message}
    return {"Type": "fixed-response", "FixedResponseConfig": config}


def _weighted(entries: list[dict[str, Any]]) -> dict[str, Any]:
    if not entries:
        raise Unbuildable("missing forward target groups")
    if len(entries) == 1:
        return {"Type": "forward", "TargetGroupArn": entries[0]["TargetGroupArn"]}
    return {"Type": "forward", "ForwardConfig": {"TargetGroups": entries}}


def _condition(entry: dict[str, Any]) -> dict[str, Any]:
    if "Field" not in entry:
        raise Unbuildable(f"missing field in condition: {entry}")
    return entry


def _health_check(annotations: Annotations, protocol: str, version: str) -> dict[str, Any]:
    grpc = version == "GRPC"
    codes = annotations.text("success-codes", "12" if grpc else "200")
    return {
        "HealthCheckProtocol": annotations.text("healthcheck-protocol", protocol).upper(),
        "HealthCheckPort": annotations.text("healthcheck-port", "traffic-port"),
        "HealthCheckPath": annotations.text("healthcheck-path", "/AWS.ALB/healthcheck" if grpc else "/"),
        "HealthCheckIntervalSeconds": annotations.number("healthcheck-interval-seconds", 15),
        "HealthCheckTimeoutSeconds": annotations.number("healthcheck-timeout-seconds", 5),
        "HealthyThresholdCount": annotations.number("healthy-threshold-count", 2),
        "UnhealthyThresholdCount": annotations.number("unhealthy-threshold-count", 2),
        "Matcher": {"GrpcCode" if grpc else "HttpCode": codes},
    }
