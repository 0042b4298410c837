"""PodSecurity: a namespace's labels say which Pod Security Standard its pods must keep, or be warned about.

`enforce` refuses pods; `audit` annotates and `warn` warns, for pods and for the workloads that make them. The checks
themselves are in `pod_security_checks`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from twinplane.controlplane.admission.contract import AdmissionRequest, ObjectReader
from twinplane.controlplane.admission.plugin import Plugin, body_of, concerns, refuse
from twinplane.controlplane.admission.pod_security_checks import LEVELS, violations
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import FieldError, invalid
from twinplane.kubeclient.meta import controller_of
from twinplane.kubeclient.resources import NAMESPACES, PODS

PREFIX = "pod-security.kubernetes.io/"
_CHECKED_PODS = 3000
_VERSION = re.compile(r"latest|v1\.(0|[1-9][0-9]*)")
_TEMPLATES: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "podtemplates"): ("template",),
    ("", "replicationcontrollers"): ("spec", "template"),
    ("apps", "replicasets"): ("spec", "template"),
    ("apps", "deployments"): ("spec", "template"),
    ("apps", "statefulsets"): ("spec", "template"),
    ("apps", "daemonsets"): ("spec", "template"),
    ("batch", "jobs"): ("spec", "template"),
    ("batch", "cronjobs"): ("spec", "jobTemplate", "spec", "template"),
}
"""Where the types that make pods keep the pod's template."""


class Level(NamedTuple):
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


class PodSecurity(Plugin):
    name = "PodSecurity"
    by_type = True
    reads = (NAMESPACES,)

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader

    def handles(self, request: AdmissionRequest) -> bool:
        if request.operation not in ("CREATE", "UPDATE"):
            return False
        if concerns(request, PODS, "UPDATE", subresource="ephemeralcontainers"):
            return True
        if request.subresource:
            return False
        place = (request.resource.group, request.resource.plural)
        return place in _TEMPLATES or place in (("", "pods"), ("", "namespaces"))

    async def validate(self, request: AdmissionRequest) -> None:
        body = body_of(request)
        if concerns(request, NAMESPACES, "CREATE", "UPDATE"):
            _check_labels(request, body)
            if request.old is not None:
                request.warnings += self._warnings(_labels(request.old), _labels(body), request.name)
            return
        namespace = self._reader.get(NAMESPACES, request.namespace)
        labels = ((namespace or {}).get("metadata") or {}).get("labels") or {}
        if not any(key.startswith(PREFIX) for key in labels):
            return
        is_pod = request.resource.plural == PODS.plural
        spec = (body.get("spec") or {}) if is_pod else _template_spec(request, body)
        metadata = body.get("metadata") if is_pod else _template(request, body).get("metadata")
        if spec is None or (is_pod and request.old and _unchanged(body, request.old)):
            return
        self._apply(request, labels, metadata or {}, spec, is_pod=is_pod)

    def _apply(
        self, request: AdmissionRequest, labels: dict[str, str], metadata: Object, spec: Object, *, is_pod: bool
    ) -> None:
        found: dict[Level, str] = {}

        def violated(mode: str) -> tuple[Level, str]:
            level = level_of(labels, mode)
            if level not in found:
                found[level] = ", ".join(violations(level.name, level.version, metadata, spec))
            return level, found[level]

        enforced, text = violated("enforce")
        if is_pod:
            request.annotations[f"{PREFIX}enforce-policy"] = str(enforced)
        if is_pod and text:
            raise refuse(request, f'violates PodSecurity "{enforced}": {text}')
        level, text = violated("audit")
        if text:
            request.annotations[f"{PREFIX}audit-violations"] = f'would violate PodSecurity "{level}": {text}'
        level, text = violated("warn")
        if text:
            request.warnings.append(f'would violate PodSecurity "{level}": {text}')

    def _warnings(self, old: dict[str, str], new: dict[str, str], namespace: str) -> list[str]:
        """Of pods that are there and that a stricter level would not have let in."""
        before, level = level_of(old, "enforce"), level_of(new, "enforce")
        relaxed = level.version == before.version and LEVELS.index(level.name) <= LEVELS.index(before.name)
        if level == before or level.name == "privileged" or relaxed:
            return []
        pods = _one_of_each_owner_first(self._reader.list(PODS, namespace))
        found: dict[str, list[str]] = {}
        for pod in pods[:_CHECKED_PODS]:
            problems = violations(level.name, level.version, pod["metadata"], pod.get("spec") or {})
            if problems:
                reasons = ", ".join(problem.partition(" (")[0] for problem in problems)
                found.setdefault(reasons, []).append(pod["metadata"]["name"])
        warnings = []
        if len(pods) > _CHECKED_PODS:
            warnings.append(
                f"new PodSecurity enforce level only checked against the first {_CHECKED_PODS} of {len(pods)} "
                "existing pods"
            )
        if found:
            warnings.append(
                f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{level}"'
            )
        return [*warnings, *sorted(f"{_named(names)}: {reasons}" for reasons, names in found.items())]


def _named(names: list[str]) -> str:
    others = len(names) - 1
    return min(names) + (f" (and {others} other pod{'s' if others > 1 else ''})" if others else "")


def _one_of_each_owner_first(pods: list[Object]) -> list[Object]:
    """Pods of one controller are alike: where not all can be looked at, it is better to see one of each."""
    first: list[Object] = []
    rest: list[Object] = []
    seen: set[str] = set()
    for pod in pods:
        owner = controller_of(pod)
        uid = None if owner is None else owner["uid"]
        (rest if uid in seen else first).append(pod)
        if uid is not None:
            seen.add(uid)
    return first + rest


def _labels(namespace: Object) -> dict[str, str]:
    return (namespace.get("metadata") or {}).get("labels") or {}


def level_of(labels: dict[str, str], mode: str) -> Level:
    """A label that cannot be read counts as restricted for `enforce` and privileged otherwise, as upstream."""
    name = labels.get(PREFIX + mode, "privileged")
    version = labels.get(f"{PREFIX}{mode}-version", "latest")
    if name not in LEVELS:
        name = "restricted" if mode == "enforce" else "privileged"
    return Level(name, version if _VERSION.fullmatch(version) else "latest")


def _template(request: AdmissionRequest, body: Object) -> Object:
    found: Object = body
    for field in _TEMPLATES[request.resource.group, request.resource.plural]:
        found = found.get(field) or {}
    return found


def _template_spec(request: AdmissionRequest, body: Object) -> Object | None:
    return _template(request, body).get("spec")


def _unchanged(body: Object, old: Object) -> bool:
    """An update of a pod matters only when it changes what runs."""

    def images(pod: Object) -> list[object]:
        spec = pod.get("spec") or {}
        return [spec.get(key) for key in ("initContainers", "containers", "ephemeralContainers")]

    return images(body) == images(old)


def _check_labels(request: AdmissionRequest, namespace: Object) -> None:
    labels = (namespace.get("metadata") or {}).get("labels") or {}
    before = ((request.old or {}).get("metadata") or {}).get("labels") or {}
    errors = []
    for mode in ("enforce", "audit", "warn"):
        key, version_key = PREFIX + mode, f"{PREFIX}{mode}-version"
        level, version = labels.get(key), labels.get(version_key)
        if level is not None and level not in LEVELS and level != before.get(key):
            why = "must be one of privileged, baseline, restricted"
            errors.append(FieldError("FieldValueInvalid", f"metadata.labels[{key}]", why, level))
        if version is not None and not _VERSION.fullmatch(version) and version != before.get(version_key):
            why = 'must be "latest" or "v1.x"'
            errors.append(FieldError("FieldValueInvalid", f"metadata.labels[{version_key}]", why, version))
    if errors:
        raise invalid("", "Namespace", request.name, errors)
