"""From a wanted and an observed stack to the calls that make them equal. Pure.

Order matters to AWS: target groups before the listeners that forward to them, listeners before their target groups are
deleted. Properties that cannot be modified (a scheme, a protocol) mean a new resource.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twinplane.controlplane.cloudcontroller.aws import Ref, Step, tag_list
from twinplane.controlplane.cloudcontroller.elbv2.model import (
    LISTENER,
    LOAD_BALANCER,
    ListenerModel,
    RuleModel,
    Stack,
    TargetGroupModel,
    TargetKey,
)
from twinplane.controlplane.cloudcontroller.elbv2.observed import (
    ObservedListener,
    ObservedLoadBalancer,
    ObservedStack,
    ObservedTargetGroup,
)

TARGETS_PAGE = 200
BALANCER = Ref(LOAD_BALANCER, "")
REDIRECT_DEFAULTS = {
    "Protocol": "#{protocol}",
    "Port": "#{port}",
    "Host": "#{host}",
    "Path": "/#{path}",
    "Query": "#{query}",
}


def plan(wanted: Stack | None, observed: ObservedStack) -> tuple[list[Step], dict[Ref, str]]:
    """The steps, and the ids that they may refer to already. `wanted` None deletes everything."""
    balancer = observed.load_balancer
    if wanted is None:
        return _delete_all(observed), {}
    steps: list[Step] = []
    known: dict[Ref, str] = {}
    if balancer is not None and not _same_balancer(wanted, balancer):
        steps += _delete_balancer(balancer)
        balancer = None
    groups = observed.target_groups
    for model in wanted.target_groups:
        present = groups.get(model.name)
        if present is not None and not _same_group(model, present):
            # Its name has to be free for the new one, and listeners let go of it first.
            steps += _release(balancer)
            balancer = None if balancer is None else _without_listeners(balancer)
            steps.append(_delete_group(present))
            present = None
        steps += _target_group(model, present)
        if present is not None:
            known[model.ref] = present.arn
    if balancer is not None:
        known[BALANCER] = balancer.arn
    steps += _balancer(wanted, balancer)
    steps += _listeners(wanted, balancer, known)
    kept = {model.name for model in wanted.target_groups}
    steps += [_delete_group(group) for name, group in sorted(groups.items()) if name not in kept]
    return steps, known


def _delete_all(observed: ObservedStack) -> list[Step]:
    steps = _delete_balancer(observed.load_balancer) if observed.load_balancer else []
    return steps + [_delete_group(group) for _, group in sorted(observed.target_groups.items())]


def _delete_balancer(balancer: ObservedLoadBalancer) -> list[Step]:
    return [*_release(balancer), _step("delete_load_balancer", LoadBalancerArn=balancer.arn)]


def _release(balancer: ObservedLoadBalancer | None) -> list[Step]:
    if balancer is None:
        return []
    return [_step("delete_listener", ListenerArn=listener.arn) for _, listener in sorted(balancer.listeners.items())]


def _without_listeners(balancer: ObservedLoadBalancer) -> ObservedLoadBalancer:
    return ObservedLoadBalancer(
        balancer.arn, balancer.dns_name, balancer.settings, balancer.tags, balancer.attributes, {}
    )


def _delete_group(group: ObservedTargetGroup) -> Step:
    return Step("elbv2", "delete_target_group", {"TargetGroupArn": group.arn}, ignore=("TargetGroupNotFound",))


def _step(operation: str, **parameters: Any) -> Step:
    return Step("elbv2", operation, parameters)


# -- load balancer ---------------------------------------------------------------------------------------------------


def _same_balancer(wanted: Stack, balancer: ObservedLoadBalancer) -> bool:
    settings = balancer.settings
    present = (settings["LoadBalancerName"], settings["Type"], settings["Scheme"])
    return present == (wanted.name, wanted.type, wanted.scheme)


def _balancer(wanted: Stack, balancer: ObservedLoadBalancer | None) -> list[Step]:
    if balancer is None:
        parameters: dict[str, Any] = {
            "Name": wanted.name,
            "Type": wanted.type,
            "Scheme": wanted.scheme,
            "Subnets": list(wanted.subnets),
            "Tags": tag_list(dict(wanted.tags)),
        }
        if wanted.security_groups:
            parameters["SecurityGroups"] = list(wanted.security_groups)
        create = Step("elbv2", "create_load_balancer", parameters, BALANCER, ("LoadBalancers", 0, "LoadBalancerArn"))
        return [create, *_balancer_attributes(wanted, {})]
    steps = []
    zones = {zone["SubnetId"] for zone in balancer.settings.get("AvailabilityZones", [])}
    if zones != set(wanted.subnets):
        steps.append(_step("set_subnets", LoadBalancerArn=balancer.arn, Subnets=list(wanted.subnets)))
    present = balancer.settings.get("SecurityGroups") or []
    if wanted.security_groups and set(present) != set(wanted.security_groups):
        groups = list(wanted.security_groups)
        steps.append(_step("set_security_groups", LoadBalancerArn=balancer.arn, SecurityGroups=groups))
    steps += _tags(balancer.arn, wanted.tags, balancer.tags)
    return steps + _balancer_attributes(wanted, balancer.attributes)


def _balancer_attributes(wanted: Stack, present: Mapping[str, str]) -> list[Step]:
    changed = _changed(wanted.attributes, present)
    if not changed:
        return []
    return [_step("modify_load_balancer_attributes", LoadBalancerArn=BALANCER, Attributes=tag_list(changed))]


def _changed(wanted: Mapping[str, str], present: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in wanted.items() if present.get(key) != value}


def _tags(arn: str, wanted: Mapping[str, str], present: Mapping[str, str]) -> list[Step]:
    steps = []
    changed = _changed(wanted, present)
    if changed:
        steps.append(_step("add_tags", ResourceArns=[arn], Tags=tag_list(changed)))
    gone = sorted(set(present) - set(wanted))
    if gone:
        steps.append(_step("remove_tags", ResourceArns=[arn], TagKeys=gone))
    return steps


# -- target groups ---------------------------------------------------------------------------------------------------


def _same_group(model: TargetGroupModel, present: ObservedTargetGroup) -> bool:
    settings = present.settings
    return (settings["Protocol"], settings["Port"], settings.get("VpcId"), settings.get("TargetType", "instance")) == (
        model.protocol,
        model.port,
        model.vpc_id,
        model.target_type,
    )


def _target_group(model: TargetGroupModel, present: ObservedTargetGroup | None) -> list[Step]:
    if present is None:
        parameters: dict[str, Any] = {
            "Name": model.name,
            "Protocol": model.protocol,
            "Port": model.port,
            "VpcId": model.vpc_id,
            "TargetType": model.target_type,
            "Tags": tag_list(dict(model.tags)),
            **model.health_check,
        }
        if model.protocol_version:
            parameters["ProtocolVersion"] = model.protocol_version
        path = ("TargetGroups", 0, "TargetGroupArn")
        steps = [Step("elbv2", "create_target_group", parameters, model.ref, path)]
        return [*steps, *_group_attributes(model, {}), *_targets(model, frozenset())]
    steps = []
    differs = {key for key, value in model.health_check.items() if not _equal(present.settings.get(key), value)}
    if differs:
        parameters = {"TargetGroupArn": present.arn, **model.health_check}
        steps.append(Step("elbv2", "modify_target_group", parameters))
    steps += _tags(present.arn, model.tags, present.tags)
    return [*steps, *_group_attributes(model, present.attributes), *_targets(model, present.targets)]


def _equal(present: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(present, Mapping) and all(_equal(present.get(key), value) for key, value in wanted.items())
    return bool(str(present) == str(wanted))


def _group_attributes(model: TargetGroupModel, present: Mapping[str, str]) -> list[Step]:
    changed = _changed(model.attributes, present)
    if not changed:
        return []
    return [_step("modify_target_group_attributes", TargetGroupArn=model.ref, Attributes=tag_list(changed))]


def _targets(model: TargetGroupModel, present: Iterable[TargetKey]) -> list[Step]:
    registered = frozenset(present)
    # Leaving goes first: two ports of one target share an identity in some implementations of the API.
    return [
        *_target_steps("deregister_targets", model, registered - model.targets, ("InvalidTarget",)),
        *_target_steps("register_targets", model, model.targets - registered, ()),
    ]


def _target_steps(
    operation: str, model: TargetGroupModel, targets: frozenset[TargetKey], ignore: tuple[str, ...]
) -> list[Step]:
    ordered = [{"Id": target, "Port": port} for target, port in sorted(targets)]
    return [
        Step(
            "elbv2",
            operation,
            {"TargetGroupArn": model.ref, "Targets": ordered[start : start + TARGETS_PAGE]},
            ignore=ignore,
        )
        for start in range(0, len(ordered), TARGETS_PAGE)
    ]


# -- listeners and rules ---------------------------------------------------------------------------------------------


def _listeners(wanted: Stack, balancer: ObservedLoadBalancer | None, known: Mapping[Ref, str]) -> list[Step]:
    present = balancer.listeners if balancer else {}
    ports = {listener.port for listener in wanted.listeners}
    steps = [
        _step("delete_listener", ListenerArn=observed.arn)
        for port, observed in sorted(present.items())
        if port not in ports
    ]
    for model in wanted.listeners:
        steps += _listener(model, present.get(model.port), known)
    return steps


def _listener(model: ListenerModel, present: ObservedListener | None, known: Mapping[Ref, str]) -> list[Step]:
    if present is not None and present.settings["Protocol"] != model.protocol:
        return [_step("delete_listener", ListenerArn=present.arn), *_listener(model, None, known)]
    ref: Any = Ref(LISTENER, str(model.port))
    if present is None:
        parameters: dict[str, Any] = {
            "LoadBalancerArn": BALANCER,
            "Port": model.port,
            "Protocol": model.protocol,
            "DefaultActions": list(model.default_actions),
            "Tags": tag_list(dict(model.tags)),
            **_tls(model),
        }
        create = Step("elbv2", "create_listener", parameters, ref, ("Listeners", 0, "ListenerArn"))
        return [create, *_rules(ref, model.rules, (), known)]
    steps = []
    certificates = [entry["CertificateArn"] for entry in present.settings.get("Certificates") or []]
    same_actions = _actions(present.settings["DefaultActions"], known) == _actions(model.default_actions, known)
    if not same_actions or set(certificates) != set(model.certificates):
        parameters = {"ListenerArn": present.arn, "DefaultActions": list(model.default_actions), **_tls(model)}
        steps.append(Step("elbv2", "modify_listener", parameters))
    return [*steps, *_rules(present.arn, model.rules, present.rules, known)]


def _tls(model: ListenerModel) -> dict[str, Any]:
    if not model.certificates:
        return {}
    tls: dict[str, Any] = {"Certificates": [{"CertificateArn": arn} for arn in model.certificates]}
    return tls | {"SslPolicy": model.ssl_policy} if model.ssl_policy else tls


def _rules(
    listener: Any, wanted: tuple[RuleModel, ...], present: tuple[Mapping[str, Any], ...], known: Mapping[Ref, str]
) -> list[Step]:
    observed = {int(rule["Priority"]): rule for rule in present}
    by_priority = {rule.priority: rule for rule in wanted}
    steps = [
        _step("delete_rule", RuleArn=rule["RuleArn"])
        for priority, rule in sorted(observed.items())
        if priority not in by_priority
    ]
    for priority, model in sorted(by_priority.items()):
        rule = observed.get(priority)
        content: dict[str, Any] = {"Conditions": list(model.conditions), "Actions": list(model.actions)}
        if rule is None:
            tags = {"Tags": tag_list(dict(model.tags))} if model.tags else {}
            steps.append(_step("create_rule", ListenerArn=listener, Priority=priority, **content, **tags))
        elif _conditions(rule["Conditions"]) != _conditions(model.conditions) or _actions(
            rule["Actions"], known
        ) != _actions(model.actions, known):
            steps.append(_step("modify_rule", RuleArn=rule["RuleArn"], **content))
    return steps


def _conditions(conditions: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Comparable: AWS repeats the values of a config in the older `Values`, and may order conditions anew."""
    return sorted(
        repr(sorted((key, repr(value)) for key, value in condition.items() if key != "Values"))
        for condition in conditions
    )


def _actions(actions: Iterable[Mapping[str, Any]], known: Mapping[Ref, str]) -> list[Any]:
    """Comparable: weights defaulted, order numbers left out, references replaced by what they stand for."""
    return [_action(action, known) for action in actions]


def _action(action: Mapping[str, Any], known: Mapping[Ref, str]) -> Any:
    if action["Type"] == "forward":
        config = action.get("ForwardConfig") or {}
        entries = config.get("TargetGroups") or [{"TargetGroupArn": action.get("TargetGroupArn")}]
        groups = [
            (known.get(entry["TargetGroupArn"], entry["TargetGroupArn"]), entry.get("Weight", 1)) for entry in entries
        ]
        return ("forward", groups if len(groups) > 1 else groups[0][0])
    if action["Type"] == "redirect":
        config = REDIRECT_DEFAULTS | dict(action.get("RedirectConfig") or {})
    else:
        config = dict(action.get("FixedResponseConfig") or {})
    return (action["Type"], sorted((key, str(value)) for key, value in config.items()))
