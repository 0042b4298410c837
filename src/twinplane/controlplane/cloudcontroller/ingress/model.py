"""The ELBv2 stack that the Ingresses of a group want. Pure: objects in, stack out.

Follows the AWS Load Balancer Controller's model builder: its names, defaults and order of rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twinplane.controlplane.cloudcontroller.aws import Unbuildable
from twinplane.controlplane.cloudcontroller.elbv2.model import (
    CLUSTER_TAG,
    ListenerModel,
    RuleModel,
    Stack,
    TargetGroupModel,
    group_resource_name,
    resource_name,
)
from twinplane.controlplane.cloudcontroller.ingress.annotations import Annotations
from twinplane.controlplane.cloudcontroller.ingress.backends import Backends
from twinplane.controlplane.cloudcontroller.ingress.groups import Group
from twinplane.controlplane.cloudcontroller.network import ANYWHERE, Permission
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import name_of, namespace_of

SCHEMES = ("internal", "internet-facing")
MINIMUM_SUBNETS = 2
NOT_FOUND = {
    "Type": "fixed-response",
    "FixedResponseConfig": {"ContentType": "text/plain", "StatusCode": "404"},
}
PATH_ORDER = {"Exact": 0, "Prefix": 1}
"""Within a rule; ImplementationSpecific last."""
WILDCARDS = set("*?")


@dataclass
class _ListenerDraft:
    protocol: str
    rules: list[RuleModel] = field(default_factory=list)
    default: dict[str, Any] | None = None
    certificates: list[str] = field(default_factory=list)
    ssl_policy: str = ""
    redirect: bool = False


def owner_tags(group: Group, cluster: str) -> dict[str, str]:
    return {CLUSTER_TAG: cluster, "ingress.k8s.aws/stack": group.id}


def scheme(ingresses: Sequence[Object]) -> str:
    """The one that the Ingresses of a group agree on; internal where none says."""
    said = {Annotations(ingress).text("scheme") for ingress in ingresses} - {""}
    unknown = said.difference(SCHEMES)
    if unknown:
        raise Unbuildable(f"unknown scheme: {min(unknown)}")
    if len(said) > 1:
        raise Unbuildable(f"conflicting scheme: {sorted(said)}")
    return min(said, default="internal")


def first(ingresses: Sequence[Object], name: str) -> tuple[str, ...]:
    """A list annotation of the first Ingress that has it."""
    return next((found for ingress in ingresses if (found := Annotations(ingress).items(name))), ())


def load_balancer_name(group: Group, ingresses: Sequence[Object], cluster: str) -> str:
    named = {Annotations(ingress).text("load-balancer-name") for ingress in ingresses} - {""}
    if len(named) > 1:
        raise Unbuildable(f"conflicting load balancer name: {sorted(named)}")
    if named:
        return min(named)
    if not group.namespace:
        return group_resource_name(group.name, cluster)
    return resource_name(group.namespace, group.name, cluster)


def inbound(ingresses: Sequence[Object]) -> frozenset[Permission]:
    """What the managed security group admits: every listener port, from `inbound-cidrs`."""
    permissions = set()
    for ingress in ingresses:
        annotations = Annotations(ingress)
        for port in annotations.listen_ports():
            for source in annotations.items("inbound-cidrs") or (ANYWHERE,):
                permissions.add(Permission("tcp", port, port, source))
    return frozenset(permissions)


def stack(
    group: Group,
    ingresses: Sequence[Object],
    backends: Backends,
    *,
    subnets: tuple[str, ...],
    security_groups: tuple[str, ...],
) -> Stack:
    network = backends.network
    if len(subnets) < MINIMUM_SUBNETS:
        raise Unbuildable(f"subnets count less than minimal required count: {len(subnets)} < {MINIMUM_SUBNETS}")
    owner = owner_tags(group, network.cluster)
    tags = {key: value for ingress in ingresses for key, value in Annotations(ingress).pairs("tags").items()} | owner
    target_groups: dict[str, TargetGroupModel] = {}
    drafts: dict[int, _ListenerDraft] = {}
    for ingress in ingresses:
        _add_ingress(ingress, backends, drafts, target_groups, tags)
    attributes: dict[str, str] = {}
    for ingress in ingresses:
        attributes |= Annotations(ingress).pairs("load-balancer-attributes")
    return Stack(
        name=load_balancer_name(group, ingresses, network.cluster),
        type="application",
        scheme=scheme(ingresses),
        subnets=subnets,
        security_groups=security_groups,
        tags=tags | {"ingress.k8s.aws/resource": "LoadBalancer"},
        attributes=attributes,
        listeners=tuple(_listener(port, draft, tags) for port, draft in sorted(drafts.items())),
        target_groups=tuple(target_groups.values()),
    )


def _add_ingress(
    ingress: Object,
    backends: Backends,
    drafts: dict[int, _ListenerDraft],
    target_groups: dict[str, TargetGroupModel],
    tags: Mapping[str, str],
) -> None:
    annotations = Annotations(ingress)
    redirect = annotations.text("ssl-redirect")
    for port, protocol in annotations.listen_ports().items():
        draft = drafts.setdefault(port, _ListenerDraft(protocol))
        if draft.protocol != protocol:
            raise Unbuildable(f"conflicting protocol for port {port}: {draft.protocol} and {protocol}")
        if protocol == "HTTPS":
            draft.certificates += [arn for arn in annotations.items("certificate-arn") if arn not in draft.certificates]
            draft.ssl_policy = draft.ssl_policy or annotations.text("ssl-policy")
        if protocol == "HTTP" and redirect:
            draft.default = _to_tls(redirect)
            draft.redirect = True
            continue
        _add_rules(ingress, backends, draft, target_groups, tags)


def _to_tls(port: str) -> dict[str, Any]:
    return {"Type": "redirect", "RedirectConfig": {"Port": port, "Protocol": "HTTPS", "StatusCode": "HTTP_301"}}


def _add_rules(
    ingress: Object,
    backends: Backends,
    draft: _ListenerDraft,
    target_groups: dict[str, TargetGroupModel],
    tags: Mapping[str, str],
) -> None:
    default = ingress.get("spec", {}).get("defaultBackend")
    if default:
        if draft.default is not None:
            full_name = f"{namespace_of(ingress)}/{name_of(ingress)}"
            raise Unbuildable(f"multiple ingress defined default backend: {full_name}")
        draft.default = backends.action(ingress, default, target_groups, tags)
    for rule in ingress.get("spec", {}).get("rules") or []:
        for path in _sorted_paths((rule.get("http") or {}).get("paths") or []):
            conditions = _conditions(rule.get("host", ""), path)
            conditions += backends.extra_conditions(ingress, path["backend"])
            action = backends.action(ingress, path["backend"], target_groups, tags)
            if not conditions:
                # AWS wants a condition in every rule; this one is true for every request.
                conditions = [_values("path-pattern", "PathPatternConfig", ["/*"])]
            draft.rules.append(RuleModel(len(draft.rules) + 1, tuple(conditions), (action,), tags))


def _sorted_paths(paths: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Exact ones first, then prefixes from the longest, then the others as written."""

    def order(path: dict[str, Any]) -> tuple[int, int]:
        kind = path.get("pathType", "")
        return PATH_ORDER.get(kind, 2), -len(path.get("path") or "") if kind == "Prefix" else 0

    return sorted(paths, key=order)


def _conditions(host: str, path: Mapping[str, Any]) -> list[dict[str, Any]]:
    conditions = [_values("host-header", "HostHeaderConfig", [host])] if host else []
    patterns = path_patterns(path.get("path") or "", path.get("pathType", ""))
    return [*conditions, _values("path-pattern", "PathPatternConfig", patterns)] if patterns else conditions


def path_patterns(path: str, kind: str) -> list[str]:
    """A Prefix is by path element, which takes two patterns."""
    if kind not in PATH_ORDER:
        return [path] if path else []
    if WILDCARDS.intersection(path):
        raise Unbuildable(f"{kind.lower()} path shouldn't contain wildcards: {path}")
    if kind == "Exact":
        return [path]
    base = path.rstrip("/")
    return [base, f"{base}/*"] if base else ["/*"]


def _values(name: str, config: str, values: list[str]) -> dict[str, Any]:
    return {"Field": name, config: {"Values": values}}


def _listener(port: int, draft: _ListenerDraft, tags: Mapping[str, str]) -> ListenerModel:
    if draft.protocol == "HTTPS" and not draft.certificates:
        raise Unbuildable("no certificate found for host: set alb.ingress.kubernetes.io/certificate-arn")
    return ListenerModel(
        port=port,
        protocol=draft.protocol,
        default_actions=(draft.default or NOT_FOUND,),
        rules=() if draft.redirect else tuple(draft.rules),
        certificates=tuple(draft.certificates[:1]),
        ssl_policy=draft.ssl_policy,
        tags={**tags, "ingress.k8s.aws/resource": str(port)},
    )
