"""Subresources that only pods have: binding (the scheduler's verdict) and eviction."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twinplane.controlplane.api import bodies
from twinplane.controlplane.api.contract import Response
from twinplane.controlplane.api.objects.selection import Selection
from twinplane.controlplane.api.options import WriteOptions, delete_options, write_options
from twinplane.controlplane.api.runtime import Call, respond
from twinplane.controlplane.api.selectors import label_selector_from_object
from twinplane.controlplane.api.verbs.admission import Admission
from twinplane.controlplane.api.verbs.delete import delete_stored
from twinplane.controlplane.api.verbs.get import found
from twinplane.controlplane.api.verbs.update import fit_name
from twinplane.controlplane.api.verbs.write import Update, now, update_stored
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError, FieldError, conflict, invalid
from twinplane.kubeclient.meta import copied, with_condition
from twinplane.kubeclient.resources import POD_DISRUPTION_BUDGETS

CREATED: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
_PROCESSING_SECONDS = 10


async def bind(call: Call) -> Response:
    """POST pods/NAME/binding: give the pod to a node, once."""
    options = write_options(call.request, "CreateOptions")
    binding = decoded(call, ("", "v1", "Binding"))
    fit_name(call, binding)
    target = binding.get("target") or {}
    if target.get("kind", "Node") not in ("Node", ""):
        detail = 'supported values: "Node", "<empty>"'
        cause = FieldError("FieldValueNotSupported", "target.kind", detail, target["kind"])
        raise invalid("", "Binding", call.name, [cause])
    if not target.get("name"):
        raise invalid("", "Binding", call.name, [FieldError("FieldValueRequired", "target.name")])
    await Admission(call, "CREATE", binding, None, options.body(), dry_run=options.dry_run).run()
    await update_stored(call, Update(lambda old: _bound(call, old, binding), options, own=True))
    return respond(CREATED, 201)


def _bound(call: Call, pod: Object, binding: Object) -> Object:
    """Another pod; what it has in common with `pod` is shared."""
    node = binding["target"]["name"]
    metadata, spec = dict(pod["metadata"]), dict(pod["spec"])
    name = metadata["name"]

    def refuse(why: str) -> ApiError:
        return conflict("", "pods/binding", name, why)

    uid = binding["metadata"].get("uid")
    if uid and uid != metadata["uid"]:
        raise refuse(f"Precondition failed: UID in precondition: {uid}, UID in object meta: {metadata['uid']}")
    if "deletionTimestamp" in metadata:
        raise refuse(f"pod {name} is being deleted, cannot be assigned to a host")
    if spec.get("nodeName"):
        raise refuse(f'pod {name} is already assigned to node "{spec["nodeName"]}"')
    if spec.get("schedulingGates"):
        raise refuse(f"pod {name} has non-empty .spec.schedulingGates")
    spec["nodeName"] = node
    for field in ("annotations", "labels"):
        if binding["metadata"].get(field):
            metadata[field] = {**(metadata.get(field) or {}), **binding["metadata"][field]}
    scheduled: Object = {"type": "PodScheduled", "status": "True", "lastTransitionTime": now(call.runtime)}
    scheduled["lastProbeTime"] = None
    # A nomination has served its purpose.
    status = {key: value for key, value in (pod.get("status") or {}).items() if key != "nominatedNodeName"}
    status["conditions"] = with_condition(status.get("conditions") or [], scheduled)
    return {**pod, "metadata": metadata, "spec": spec, "status": status}


async def evict(call: Call) -> Response:
    """POST pods/NAME/eviction: a delete that a PodDisruptionBudget may refuse for now (429)."""
    options = write_options(call.request, "CreateOptions")
    eviction = decoded(call, ("policy", "v1", "Eviction"))
    fit_name(call, eviction)
    pod = found(call).parsed()
    await Admission(call, "CREATE", eviction, None, options.body(), dry_run=options.dry_run).run()
    deletion = delete_options(call.request, eviction.get("deleteOptions") or {})
    deletion = replace(deletion, dry_run=deletion.dry_run or options.dry_run)
    if not _may_go_freely(pod):
        await _spend_budget(call, pod, options)
        deletion = replace(deletion, uid=deletion.uid or pod["metadata"]["uid"])
    if not deletion.dry_run and not deletion.resource_version:
        # Not below a precondition on the revision, which this write would break.
        await update_stored(call, Update(lambda old: _disrupted(call, old), options, own=True))
    await delete_stored(_of_pod(call), deletion)
    return respond(CREATED, 201)


def _disrupted(call: Call, pod: Object) -> Object:
    """Another pod, which says why it ends: failure policies of Jobs read it."""
    condition: Object = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastTransitionTime": now(call.runtime),
    }
    status = pod.get("status") or {}
    return {**pod, "status": {**status, "conditions": with_condition(status.get("conditions") or [], condition)}}


def _of_pod(call: Call) -> Call:
    return replace(call, route=call.route._replace(subresource="", verb="delete"))


def _may_go_freely(pod: Object) -> bool:
    """Pods that never ran, have ended or are leaving count against no budget."""
    phase = (pod.get("status") or {}).get("phase", "Pending")
    return phase in ("Succeeded", "Failed", "Pending") or "deletionTimestamp" in pod["metadata"]


async def _spend_budget(call: Call, pod: Object, options: WriteOptions) -> None:
    budget = _budget_of(call, pod)
    if budget is None or not _counts(pod, budget):
        return
    name = budget["metadata"]["name"]
    resource = POD_DISRUPTION_BUDGETS
    budgets = call.runtime.registry.lookup(resource.group, resource.version, resource.plural)
    assert budgets is not None, "a built-in type"
    route = call.route._replace(
        group=resource.group, resource=resource.plural, name=name, subresource="status", verb="update"
    )
    of_budget = replace(call, route=route, type=budgets, stored=budgets)
    spend = Update(lambda old: _spent(call, copied(old), pod["metadata"]["name"]), options, own=True)
    await update_stored(of_budget, spend)


def _budget_of(call: Call, pod: Object) -> Object | None:
    collection = call.runtime.cache.collection(POD_DISRUPTION_BUDGETS)
    labels = pod["metadata"].get("labels") or {}
    matching = []
    for entry in collection.select(Selection(call.namespace)):
        selector = entry.object["spec"].get("selector")
        if selector is not None and label_selector_from_object(selector).matches(labels):
            matching.append(entry.object)
    if len(matching) > 1:
        message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        raise ApiError("InternalError", message)
    return matching[0] if matching else None


def _counts(pod: Object, budget: Object) -> bool:
    """An unready pod may go when the policy says so, or when enough others are healthy."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    if any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions):
        return True
    if budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return False
    status = budget.get("status") or {}
    return not (status.get("currentHealthy", 0) >= status.get("desiredHealthy", 0) > 0)


def _spent(call: Call, budget: Object, pod_name: str) -> Object:
    status = budget.setdefault("status", {})
    name = budget["metadata"]["name"]
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        cause = f"The disruption budget {name} is still being processed by the server."
        raise _refused(cause, retry_after=_PROCESSING_SECONDS)
    allowed = status.get("disruptionsAllowed", 0)
    if allowed < 1:
        needs, has = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
        raise _refused(f"The disruption budget {name} needs {needs} healthy pods and has {has} currently")
    status["disruptionsAllowed"] = allowed - 1
    status["disruptedPods"] = {**(status.get("disruptedPods") or {}), pod_name: now(call.runtime)}
    return budget


def _refused(cause: str, *, retry_after: int | None = None) -> ApiError:
    message = "Cannot evict pod as it would violate the pod's disruption budget."
    details: dict[str, Any] = {"causes": [{"reason": "DisruptionBudget", "message": cause}]}
    return ApiError("TooManyRequests", message, details=details, retry_after=retry_after)


def decoded(call: Call, expected: tuple[str, str, str]) -> Object:
    content_type = call.request.headers.get("content-type", "")
    body = bodies.decode_kind(call.request.body, content_type, expected, call.runtime.registry)
    schema = call.runtime.registry.schema(*expected)
    if schema is not None:
        call.runtime.rules.decode_as(schema, body, expected[2], expected[1])
    return body
