"""Checks that need no code: required strings, enumerations, numbers that may not be negative or out of range.

Required strings come from the schemas' own `required`; the exceptions are fields that Go marks so (no `omitempty`) but
whose validation takes an empty string, and everything that only status carries.
"""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.api.types.schema import Definitions
from twinplane.controlplane.api.types.validation.context import Context, Visitor
from twinplane.controlplane.api.types.walking import full_name

_MODES = "Always IfNotPresent Never"
_PROTOCOLS = "SCTP TCP UDP"
_WEBHOOK = {
    "failurePolicy": "Fail Ignore",
    "matchPolicy": "Equivalent Exact",
    "sideEffects": "None NoneOnDryRun",
}
_CONTAINER = {"imagePullPolicy": _MODES, "terminationMessagePolicy": "FallbackToLogsOnError File"}

ENUMERATIONS: dict[str, dict[str, str]] = {
    "core.v1.AppArmorProfile": {"type": "Localhost RuntimeDefault Unconfined"},
    "core.v1.SeccompProfile": {"type": "Localhost RuntimeDefault Unconfined"},
    "core.v1.Container": _CONTAINER,
    "core.v1.EphemeralContainer": _CONTAINER,
    "core.v1.ContainerPort": {"protocol": _PROTOCOLS},
    "core.v1.ContainerResizePolicy": {"restartPolicy": "NotRequired RestartContainer"},
    "core.v1.EndpointPort": {"protocol": _PROTOCOLS},
    "core.v1.HTTPGetAction": {"scheme": "HTTP HTTPS"},
    "core.v1.HostPathVolumeSource": {
        "type": "BlockDevice CharDevice Directory DirectoryOrCreate File FileOrCreate Socket",
    },
    "core.v1.ImageVolumeSource": {"pullPolicy": _MODES},
    "core.v1.PersistentVolumeClaimSpec": {"volumeMode": "Block Filesystem"},
    "core.v1.PersistentVolumeSpec": {
        "persistentVolumeReclaimPolicy": "Delete Recycle Retain",
        "volumeMode": "Block Filesystem",
    },
    "core.v1.PodOS": {"name": "linux windows"},
    "core.v1.PodSecurityContext": {
        "fsGroupChangePolicy": "Always OnRootMismatch",
        "supplementalGroupsPolicy": "Merge Strict",
    },
    "core.v1.PodSpec": {
        "dnsPolicy": "ClusterFirst ClusterFirstWithHostNet Default None",
        "preemptionPolicy": "Never PreemptLowerPriority",
        "restartPolicy": "Always Never OnFailure",
    },
    "core.v1.ServicePort": {"protocol": _PROTOCOLS},
    "core.v1.ServiceSpec": {
        "externalTrafficPolicy": "Cluster Local",
        "internalTrafficPolicy": "Cluster Local",
        "ipFamilyPolicy": "PreferDualStack RequireDualStack SingleStack",
        "sessionAffinity": "ClientIP None",
        "type": "ClusterIP ExternalName LoadBalancer NodePort",
    },
    "core.v1.Taint": {"effect": "NoExecute NoSchedule PreferNoSchedule"},
    "core.v1.Toleration": {"effect": "NoExecute NoSchedule PreferNoSchedule"},
    "core.v1.TopologySpreadConstraint": {
        "nodeAffinityPolicy": "Honor Ignore",
        "nodeTaintsPolicy": "Honor Ignore",
        "whenUnsatisfiable": "DoNotSchedule ScheduleAnyway",
    },
    "core.v1.VolumeMount": {
        "mountPropagation": "Bidirectional HostToContainer None",
        "recursiveReadOnly": "Disabled Enabled IfPossible",
    },
    "apps.v1.DaemonSetUpdateStrategy": {"type": "OnDelete RollingUpdate"},
    "apps.v1.DeploymentStrategy": {"type": "Recreate RollingUpdate"},
    "apps.v1.StatefulSetSpec": {"podManagementPolicy": "OrderedReady Parallel"},
    "apps.v1.StatefulSetUpdateStrategy": {"type": "OnDelete RollingUpdate"},
    "apps.v1.StatefulSetPersistentVolumeClaimRetentionPolicy": {
        "whenDeleted": "Delete Retain",
        "whenScaled": "Delete Retain",
    },
    "batch.v1.CronJobSpec": {"concurrencyPolicy": "Allow Forbid Replace"},
    "batch.v1.JobSpec": {
        "completionMode": "Indexed NonIndexed",
        "podReplacementPolicy": "Failed TerminatingOrFailed",
    },
    "batch.v1.PodFailurePolicyRule": {"action": "Count FailIndex FailJob Ignore"},
    "batch.v1.PodFailurePolicyOnExitCodesRequirement": {"operator": "In NotIn"},
    "autoscaling.v2.MetricSpec": {"type": "ContainerResource External Object Pods Resource"},
    "autoscaling.v2.MetricTarget": {"type": "AverageValue Utilization Value"},
    "autoscaling.v2.HPAScalingPolicy": {"type": "Percent Pods"},
    "autoscaling.v2.HPAScalingRules": {"selectPolicy": "Disabled Max Min"},
    "policy.v1.PodDisruptionBudgetSpec": {"unhealthyPodEvictionPolicy": "AlwaysAllow IfHealthyBudget"},
    "networking.v1.HTTPIngressPath": {"pathType": "Exact ImplementationSpecific Prefix"},
    "networking.v1.IngressClassParametersReference": {"scope": "Cluster Namespace"},
    "networking.v1.NetworkPolicyPort": {"protocol": _PROTOCOLS},
    "discovery.v1.EndpointSlice": {"addressType": "FQDN IPv4 IPv6"},
    "discovery.v1.EndpointPort": {"protocol": _PROTOCOLS},
    "storage.v1.StorageClass": {
        "reclaimPolicy": "Delete Retain",
        "volumeBindingMode": "Immediate WaitForFirstConsumer",
    },
    "storage.v1.CSIDriverSpec": {"fsGroupPolicy": "File None ReadWriteOnceWithFSType"},
    "scheduling.v1.PriorityClass": {"preemptionPolicy": "Never PreemptLowerPriority"},
    "admissionregistration.v1.MutatingWebhook": _WEBHOOK | {"reinvocationPolicy": "IfNeeded Never"},
    "admissionregistration.v1.ValidatingWebhook": _WEBHOOK,
    "admissionregistration.v1.RuleWithOperations": {"scope": "* Cluster Namespaced"},
    "admissionregistration.v1.ValidatingAdmissionPolicySpec": {"failurePolicy": "Fail Ignore"},
    "admissionregistration.v1.MutatingAdmissionPolicySpec": {"failurePolicy": "Fail Ignore"},
    "resource.v1.ExactDeviceRequest": {"allocationMode": "All ExactCount"},
    "resource.v1.DeviceSubRequest": {"allocationMode": "All ExactCount"},
    "flowcontrol.v1.PriorityLevelConfigurationSpec": {"type": "Exempt Limited"},
    "flowcontrol.v1.LimitResponse": {"type": "Queue Reject"},
}

NON_NEGATIVE: dict[str, str] = {
    "core.v1.PodSpec": "terminationGracePeriodSeconds",
    "core.v1.Probe": "failureThreshold initialDelaySeconds periodSeconds successThreshold timeoutSeconds",
    "core.v1.ReplicationControllerSpec": "minReadySeconds replicas",
    "apps.v1.DaemonSetSpec": "minReadySeconds revisionHistoryLimit",
    "apps.v1.DeploymentSpec": "minReadySeconds progressDeadlineSeconds replicas revisionHistoryLimit",
    "apps.v1.ReplicaSetSpec": "minReadySeconds replicas",
    "apps.v1.StatefulSetSpec": "minReadySeconds replicas revisionHistoryLimit",
    "batch.v1.CronJobSpec": "failedJobsHistoryLimit startingDeadlineSeconds successfulJobsHistoryLimit",
    "batch.v1.JobSpec": (
        "activeDeadlineSeconds backoffLimit backoffLimitPerIndex completions maxFailedIndexes parallelism "
        "ttlSecondsAfterFinished"
    ),
    "coordination.v1.LeaseSpec": "leaseTransitions",
}

RANGES: dict[str, dict[str, tuple[int, int]]] = {
    "core.v1.PodSpec": {"activeDeadlineSeconds": (1, (1 << 31) - 1)},
    "core.v1.SecretVolumeSource": {"defaultMode": (0, 0o777)},
    "core.v1.ConfigMapVolumeSource": {"defaultMode": (0, 0o777)},
    "core.v1.DownwardAPIVolumeSource": {"defaultMode": (0, 0o777)},
    "core.v1.ProjectedVolumeSource": {"defaultMode": (0, 0o777)},
    "core.v1.KeyToPath": {"mode": (0, 0o777)},
    "core.v1.WeightedPodAffinityTerm": {"weight": (1, 100)},
    "core.v1.PreferredSchedulingTerm": {"weight": (1, 100)},
}
_RANGE_TEXTS = {
    (0, 0o777): "must be a number between 0 and 0777 (octal), both inclusive",
    (1, 100): "must be in the range 1-100",
}

_MAY_BE_EMPTY: dict[str, str] = {
    "core.v1.HTTPHeader": "value",
    "core.v1.Sysctl": "value",
    "authentication.v1.TokenReviewSpec": "token",
    "networking.v1.HTTPIngressPath": "pathType",
    "rbac.v1.Subject": "kind",
    "rbac.v1.RoleRef": "kind",
    "core.v1.NodeSelectorRequirement": "key operator",
    "core.v1.HostIP": "ip",
    "core.v1.PodIP": "ip",
    "core.v1.NodeSystemInfo": "*",
    "core.v1.AttachedVolume": "*",
    "core.v1.NodeAddress": "*",
    "core.v1.Container": "name",
    "core.v1.EphemeralContainer": "name",
    "storage.v1.TokenRequest": "audience",
}
"""`name` of containers, `kind` of subjects and `pathType` have validators with better texts."""
_STATUS_WORDS = ("Status", "Condition", "AllocationResult", "ConsumerReference")


def visitors(definitions: Definitions) -> dict[str, Visitor]:
    """One visitor for every definition that some table speaks of."""
    required = {name: _required_strings(name, definition) for name, definition in definitions.items()}
    enumerations = {full_name(name): _split(fields) for name, fields in ENUMERATIONS.items()}
    non_negative = {full_name(name): tuple(fields.split()) for name, fields in NON_NEGATIVE.items()}
    ranges = {full_name(name): tuple(fields.items()) for name, fields in RANGES.items()}
    result: dict[str, Visitor] = {}
    for name in definitions:
        parts = required[name], enumerations.get(name, ()), non_negative.get(name, ()), ranges.get(name, ())
        if any(parts):
            result[name] = _visitor(*parts)
    return result


def _split(fields: dict[str, str]) -> tuple[tuple[str, frozenset[str]], ...]:
    return tuple((field, frozenset(choices.split())) for field, choices in fields.items())


def _required_strings(name: str, definition: dict[str, Any]) -> tuple[str, ...]:
    is_status = name.endswith(_STATUS_WORDS) and not name.endswith(".MatchCondition")
    if is_status or not name.startswith("io.k8s.api."):
        return ()
    excused = next((fields for key, fields in _MAY_BE_EMPTY.items() if full_name(key) == name), "")
    if excused == "*":
        return ()
    properties = definition.get("properties", {})
    return tuple(
        field
        for field in definition.get("required", ())
        if properties[field].get("type") == "string"
        and "format" not in properties[field]
        and field not in excused.split()
    )


def _visitor(
    required: tuple[str, ...],
    enumerations: tuple[tuple[str, frozenset[str]], ...],
    non_negative: tuple[str, ...],
    ranges: tuple[tuple[str, tuple[int, int]], ...],
) -> Visitor:
    def visit(value: Any, path: str, context: Context) -> None:
        prefix = f"{path}." if path else ""
        for field in required:
            if not value.get(field):
                context.errors.need(prefix + field, None)
        for field, choices in enumerations:
            chosen = value.get(field)
            if chosen and chosen not in choices:
                context.errors.choose(prefix + field, chosen, choices)
        for field in non_negative:
            number = value.get(field)
            if number is not None and number < 0:
                context.errors.at_least(prefix + field, number)
        for field, (low, high) in ranges:
            number = value.get(field)
            if number is not None and not low <= number <= high:
                text = _RANGE_TEXTS.get((low, high), f"must be between {low} and {high}, inclusive")
                context.errors.texts(prefix + field, number, (text,))

    return visit
