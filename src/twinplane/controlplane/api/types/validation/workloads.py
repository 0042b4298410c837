"""Deployments and the other owners of pod templates, jobs, cron jobs, autoscalers, disruption budgets."""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.api.types.validation import cron, names
from twinplane.controlplane.api.types.validation.context import Context, Visitor
from twinplane.controlplane.api.types.validation.fields import Errors, forbidden, invalid, required, unsupported
from twinplane.controlplane.api.types.validation.selectors import is_empty, matches

Spec = dict[str, Any]
MISMATCH = "`selector` does not match template `labels`"
_COMPLETION_LIMIT = 100_000


def _labels(spec: Spec) -> dict[str, str]:
    return ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}


def _validate_owner(spec: Spec, path: str, errors: Errors) -> None:
    """A selector that is not empty and that matches the template; pods that restart for ever."""
    selector = spec.get("selector")
    if selector is None:
        errors.append(required(f"{path}.selector"))
    elif is_empty(selector):
        errors.append(invalid(f"{path}.selector", selector, "empty selector is invalid for deployment"))
    if selector is None or not matches(selector, _labels(spec)):
        errors.append(invalid(f"{path}.template.metadata.labels", _labels(spec), MISMATCH))
    _always_restarts(spec, path, errors)


def _always_restarts(spec: Spec, path: str, errors: Errors) -> None:
    pod = (spec.get("template") or {}).get("spec") or {}
    if pod.get("restartPolicy", "Always") != "Always":
        errors.append(unsupported(f"{path}.template.spec.restartPolicy", pod["restartPolicy"], ("Always",)))
    if pod.get("activeDeadlineSeconds") is not None:
        detail = "activeDeadlineSeconds in ReplicaSet is not Supported"
        errors.append(forbidden(f"{path}.template.spec.activeDeadlineSeconds", detail))


def _owner(kind: str) -> Visitor:
    def validate(spec: Spec, path: str, context: Context) -> None:
        before = len(context.errors)
        _validate_owner(spec, path, context.errors)
        for error in context.errors[before:]:
            if error.detail == "empty selector is invalid for deployment":
                error.detail = f"empty selector is invalid for {kind}"

    return validate


def deployment(spec: Spec, path: str, context: Context) -> None:
    errors = context.errors
    _validate_owner(spec, path, errors)
    deadline, ready = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds", 0)
    if deadline is not None and deadline <= ready:
        detail = "must be greater than minReadySeconds"
        errors.append(invalid(f"{path}.progressDeadlineSeconds", deadline, detail))
    strategy = spec.get("strategy") or {}
    rolling = strategy.get("rollingUpdate")
    at = f"{path}.strategy.rollingUpdate"
    if strategy.get("type") == "Recreate" and rolling is not None:
        errors.append(forbidden(at, "may not be specified when strategy `type` is 'Recreate'"))
    elif rolling is not None:
        _validate_rolling(rolling, at, errors)


def _validate_rolling(rolling: dict[str, Any], path: str, errors: Errors) -> None:
    for field in ("maxUnavailable", "maxSurge"):
        if field in rolling:
            validate_count(rolling[field], f"{path}.{field}", errors)
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    if _amount(unavailable) == 0 and _amount(surge) == 0:
        errors.append(invalid(f"{path}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0"))
    if isinstance(unavailable, str) and _amount(unavailable) > 100:
        errors.append(invalid(f"{path}.maxUnavailable", unavailable, "must not be greater than 100%"))


def _amount(value: int | str) -> int:
    return value if isinstance(value, int) else int(value[:-1]) if not names.percent(value) else -1


def validate_count(value: int | str, path: str, errors: Errors) -> None:
    """A number that is not negative, or a percentage."""
    if isinstance(value, str):
        errors.texts(path, value, names.percent(value))
    else:
        errors.at_least(path, value)


def daemon_set(spec: Spec, path: str, context: Context) -> None:
    _validate_owner(spec, path, context.errors)
    rolling = (spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
    at = f"{path}.updateStrategy.rollingUpdate"
    unavailable, surge = rolling.get("maxUnavailable", 1), rolling.get("maxSurge", 0)
    for field in ("maxUnavailable", "maxSurge"):
        if field in rolling:
            validate_count(rolling[field], f"{at}.{field}", context.errors)
    if _amount(unavailable) > 0 and _amount(surge) > 0:
        detail = "may not be set when maxUnavailable is non-zero"
        context.errors.append(invalid(f"{at}.maxSurge", surge, detail))
    elif _amount(unavailable) == 0 and _amount(surge) == 0:
        detail = "cannot be 0 when maxSurge is 0"
        context.errors.append(invalid(f"{at}.maxUnavailable", unavailable, detail))


def stateful_set(spec: Spec, path: str, context: Context) -> None:
    claims = spec.get("volumeClaimTemplates") or ()
    context.claimed_volumes = frozenset((claim.get("metadata") or {}).get("name") or "" for claim in claims)
    _validate_owner(spec, path, context.errors)
    partition = ((spec.get("updateStrategy") or {}).get("rollingUpdate") or {}).get("partition", 0)
    context.errors.at_least(f"{path}.updateStrategy.rollingUpdate.partition", partition)
    if spec.get("serviceName"):
        problems = names.dns_subdomain(spec["serviceName"])
        context.errors.texts(f"{path}.serviceName", spec["serviceName"], problems)


def replication_controller(spec: Spec, path: str, context: Context) -> None:
    errors, selector = context.errors, spec.get("selector")
    if not selector:
        errors.append(required(f"{path}.selector"))
    elif any(_labels(spec).get(key) != value for key, value in selector.items()):
        errors.append(invalid(f"{path}.template.metadata.labels", _labels(spec), MISMATCH))
    _always_restarts(spec, path, errors)


def job(spec: Spec, path: str, context: Context) -> None:
    errors = context.errors
    pod = (spec.get("template") or {}).get("spec") or {}
    policy = pod.get("restartPolicy")
    if policy == "Always":
        at = f"{path}.template.spec.restartPolicy"
        errors.append(required(at, 'valid values: "OnFailure", "Never"'))
    in_template = ".jobTemplate." in f".{path}."
    selector = spec.get("selector")
    if in_template and selector is not None:
        errors.append(invalid(f"{path}.selector", selector, "`selector` will be auto-generated"))
    if in_template and spec.get("manualSelector"):
        errors.append(unsupported(f"{path}.manualSelector", True, ("nil", "false")))
    if not in_template:
        if selector is None:
            errors.append(required(f"{path}.selector"))
        elif not matches(selector, _labels(spec)):
            errors.append(invalid(f"{path}.template.metadata.labels", _labels(spec), MISMATCH))
    if spec.get("completionMode") == "Indexed":
        if spec.get("completions") is None:
            detail = "when completion mode is Indexed"
            errors.append(required(f"{path}.completions", detail))
        if (spec.get("parallelism") or 0) > _COMPLETION_LIMIT:
            detail = f"must be less than or equal to {_COMPLETION_LIMIT} when completion mode is Indexed"
            errors.append(invalid(f"{path}.parallelism", spec["parallelism"], detail))


def cron_job(spec: Spec, path: str, context: Context) -> None:
    errors, schedule = context.errors, spec.get("schedule", "")
    if "TZ=" in schedule:
        detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        errors.append(invalid(f"{path}.schedule", schedule, detail))
    elif schedule:
        errors.texts(f"{path}.schedule", schedule, cron.problems(schedule))
    if "timeZone" in spec:
        errors.texts(f"{path}.timeZone", spec["timeZone"], cron.zone_problems(spec["timeZone"]))


def autoscaler(spec: Spec, path: str, context: Context) -> None:
    errors = context.errors
    least, most = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    if least is not None and least < 1:
        errors.append(invalid(f"{path}.minReplicas", least, "must be greater than or equal to 1"))
    if most < 1:
        errors.append(invalid(f"{path}.maxReplicas", most, "must be greater than 0"))
    if least is not None and most < least:
        errors.append(invalid(f"{path}.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    if not spec.get("scaleTargetRef"):
        errors.append(required(f"{path}.scaleTargetRef.kind"))
        errors.append(required(f"{path}.scaleTargetRef.name"))
    for index, metric in enumerate(spec.get("metrics") or ()):
        kind = metric.get("type", "")
        field = kind[:1].lower() + kind[1:]
        if kind and field not in metric:
            detail = "must populate information for the given metric source"
            errors.append(required(f"{path}.metrics[{index}].{field}", detail))


def disruption_budget(spec: Spec, path: str, context: Context) -> None:
    errors = context.errors
    if "minAvailable" in spec and "maxUnavailable" in spec:
        detail = "minAvailable and maxUnavailable cannot be both set"
        errors.append(invalid(path, spec, detail))
    for field in ("minAvailable", "maxUnavailable"):
        if field in spec:
            validate_count(spec[field], f"{path}.{field}", errors)
            if isinstance(spec[field], str) and _amount(spec[field]) > 100:
                errors.append(invalid(f"{path}.{field}", spec[field], "must not be greater than 100%"))


VALIDATORS: dict[str, Visitor] = {
    "apps.v1.DaemonSetSpec": daemon_set,
    "apps.v1.DeploymentSpec": deployment,
    "apps.v1.ReplicaSetSpec": _owner("deployment"),
    "apps.v1.StatefulSetSpec": stateful_set,
    "autoscaling.v2.HorizontalPodAutoscalerSpec": autoscaler,
    "batch.v1.CronJobSpec": cron_job,
    "batch.v1.JobSpec": job,
    "core.v1.ReplicationControllerSpec": replication_controller,
    "policy.v1.PodDisruptionBudgetSpec": disruption_budget,
}
