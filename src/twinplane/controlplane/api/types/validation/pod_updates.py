"""What may change in a pod after it was created: images, deadlines, added tolerations, scheduling of gated pods.

Upstream: `ValidatePodUpdate`, `ValidatePodEphemeralContainersUpdate` and `ValidatePodResize`.
"""

from __future__ import annotations

import copy
from typing import Any

from twinplane.controlplane.api.types.strategy.equality import same
from twinplane.controlplane.api.types.strategy.pods import qos_class
from twinplane.controlplane.api.types.validation.fields import Errors, forbidden, invalid
from twinplane.kubeclient.contract import Object

Spec = dict[str, Any]
_ALLOWED = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` "
    "(only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
    "previously negative)"
)
UNCHANGEABLE = f"pod updates may not change fields other than {_ALLOWED}"
_CONTAINER_LISTS = ("containers", "initContainers")
_RESIZABLE = frozenset({"cpu", "memory"})


def validate_update(body: Object, old: Object, errors: Errors) -> None:
    spec, before = body.get("spec") or {}, old.get("spec") or {}
    for field in _CONTAINER_LISTS:
        if len(spec.get(field) or ()) != len(before.get(field) or ()):
            errors.append(forbidden(f"spec.{field}", "pod updates may not add or remove containers"))
            return
    _validate_deadline(spec, before, errors)
    _validate_tolerations(spec, before, errors)
    _validate_gates(spec, before, errors)
    allowed = _with_allowed_changes(spec, before)
    if not same(allowed, before):
        changed = sorted(key for key in allowed.keys() | before.keys() if not same(allowed.get(key), before.get(key)))
        shown = "\n".join(f"  spec.{key}" for key in changed)
        errors.append(forbidden("spec", f"{UNCHANGEABLE}\n{shown}\n"))


def _with_allowed_changes(spec: Spec, before: Spec) -> Spec:
    """The new spec with everything that may change put back as it was."""
    allowed = dict(spec)
    for field in _CONTAINER_LISTS:
        if spec.get(field):
            pairs = zip(spec[field], before[field], strict=True)
            allowed[field] = [_with_image(container, other.get("image")) for container, other in pairs]
    for field in ("activeDeadlineSeconds", "tolerations"):
        _copy(field, before, allowed)
    if before.get("terminationGracePeriodSeconds", 0) < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        _copy("terminationGracePeriodSeconds", before, allowed)
    if before.get("schedulingGates"):
        for field in ("schedulingGates", "nodeSelector", "affinity"):
            _copy(field, before, allowed)
    _copy("ephemeralContainers", before, allowed)
    return allowed


def _copy(field: str, source: Spec, target: Spec) -> None:
    if field in source:
        target[field] = source[field]
    else:
        target.pop(field, None)


def _with_image(container: Spec, image: str | None) -> Spec:
    return {**container, "image": image}


def _validate_deadline(spec: Spec, before: Spec, errors: Errors) -> None:
    deadline, previous = spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    if previous is None:
        return
    if deadline is None:
        detail = "must not update from a positive integer to nil value"
        errors.append(invalid("spec.activeDeadlineSeconds", None, detail))
    elif deadline > previous:
        detail = "must be less than or equal to previous value"
        errors.append(invalid("spec.activeDeadlineSeconds", deadline, detail))


def _validate_tolerations(spec: Spec, before: Spec, errors: Errors) -> None:
    present = spec.get("tolerations") or []
    for entry in before.get("tolerations") or ():
        kept = any(
            same({**entry, "tolerationSeconds": None}, {**other, "tolerationSeconds": None}) for other in present
        )
        if not kept:
            errors.append(
                forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")
            )
            return


def _validate_gates(spec: Spec, before: Spec, errors: Errors) -> None:
    known = {gate.get("name") for gate in before.get("schedulingGates") or ()}
    for gate in spec.get("schedulingGates") or ():
        if gate.get("name") not in known:
            detail = f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'"
            errors.append(forbidden("spec.schedulingGates", detail))


def validate_ephemeral(body: Object, old: Object, errors: Errors) -> None:
    """Ephemeral containers are only ever added."""
    present = {entry.get("name"): entry for entry in (body.get("spec") or {}).get("ephemeralContainers") or ()}
    for entry in (old.get("spec") or {}).get("ephemeralContainers") or ():
        name = entry.get("name")
        if name not in present:
            detail = f'existing ephemeral containers "{name}" may not be removed\n'
            errors.append(forbidden("spec.ephemeralContainers", detail))
        elif not same(present[name], entry):
            detail = f'existing ephemeral containers "{name}" may not be changed\n'
            errors.append(forbidden("spec.ephemeralContainers", detail))


def validate_resize(body: Object, old: Object, errors: Errors) -> None:
    spec, before = body.get("spec") or {}, old.get("spec") or {}
    if qos_class(spec) != qos_class(before):
        errors.append(invalid("spec", qos_class(spec), "Pod QOS Class may not change as a result of resizing"))
    for field in _CONTAINER_LISTS:
        for index, (container, other) in enumerate(zip(spec.get(field) or (), before.get(field) or (), strict=False)):
            if not same(_fixed_resources(container), _fixed_resources(other)):
                detail = "only cpu and memory resources are mutable"
                errors.append(forbidden(f"spec.{field}[{index}].resources", detail))


def _fixed_resources(container: Spec) -> Spec:
    resources = copy.deepcopy(container.get("resources") or {})
    for field in ("limits", "requests"):
        for name in _RESIZABLE & (resources.get(field) or {}).keys():
            del resources[field][name]
    return resources
