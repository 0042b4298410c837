"""Priority: a pod's class becomes the number that the scheduler orders and preempts by."""

from __future__ import annotations

from twinplane.controlplane.admission.contract import AdmissionRequest, ObjectReader
from twinplane.controlplane.admission.plugin import Plugin, body_of, concerns, refuse, spec_of
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import PODS, PRIORITY_CLASSES

_PREEMPT = "PreemptLowerPriority"


class Priority(Plugin):
    name = "Priority"
    by_type = True
    reads = (PRIORITY_CLASSES,)

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader
        self._known: tuple[int, Object | None] = (-1, None)

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, PODS, "CREATE", "UPDATE") or concerns(request, PRIORITY_CLASSES, "CREATE", "UPDATE")

    async def admit(self, request: AdmissionRequest) -> None:
        if request.resource.plural != PODS.plural:
            return
        spec = spec_of(request)
        if request.operation == "CREATE":
            self._resolve(request, spec)
            return
        old = (request.old or {}).get("spec") or {}
        for field in ("priority", "preemptionPolicy"):
            if spec.get(field) is None and old.get(field) is not None:
                spec[field] = old[field]

    def _resolve(self, request: AdmissionRequest, spec: Object) -> None:
        name = spec.get("priorityClassName") or ""
        if name:
            found = self._reader.get(PRIORITY_CLASSES, name)
            if found is None:
                raise refuse(request, f"no PriorityClass with name {name} was found")
        else:
            found = self._default()
        value = found.get("value", 0) if found else 0
        policy = (found or {}).get("preemptionPolicy") or _PREEMPT
        if found and not name:
            spec["priorityClassName"] = found["metadata"]["name"]
        computed = "priority admission controller computed"
        if spec.get("priority") is not None and spec["priority"] != value:
            given = f"the integer value of priority ({spec['priority']}) must not be provided in pod spec"
            raise refuse(request, f"{given}; {computed} {value} from the given PriorityClass name")
        spec["priority"] = value
        if spec.get("preemptionPolicy") and found and spec["preemptionPolicy"] != policy:
            given = (
                f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod spec"
            )
            raise refuse(request, f"{given}; {computed} {policy} from the given PriorityClass name")
        spec["preemptionPolicy"] = spec.get("preemptionPolicy") or policy

    def _default(self) -> Object | None:
        """The lowest of the classes marked globalDefault; validation lets in only one."""
        revision = self._reader.revision(PRIORITY_CLASSES)
        if self._known[0] != revision:
            self._known = (revision, self._lowest_default())
        return self._known[1]

    def _lowest_default(self) -> Object | None:
        defaults = [each for each in self._reader.list(PRIORITY_CLASSES) if each.get("globalDefault")]
        return min(defaults, key=lambda each: int(each.get("value", 0)), default=None)

    async def validate(self, request: AdmissionRequest) -> None:
        if request.resource.plural != PRIORITY_CLASSES.plural or not body_of(request).get("globalDefault"):
            return
        default = self._default()
        if default is not None and default["metadata"]["name"] != request.name:
            why = (
                f"PriorityClass {default['metadata']['name']} is already marked as default. Only one default can exist"
            )
            raise refuse(request, why)
