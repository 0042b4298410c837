"""`status.typeChecking` and `observedGeneration` of ValidatingAdmissionPolicies, once for each generation.

Upstream's `validatingadmissionpolicy-status` controller. MutatingAdmissionPolicies have no status. What is checked, and
against which types, is `warnings`' business.
"""

from __future__ import annotations

from collections.abc import Callable

from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import name_of

POLICIES = Resource(
    "admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", False
)
FIELD_MANAGER = "validatingadmissionpolicy-status"
Warnings = Callable[[Object], list[Object]]
"""ValidatingAdmissionPolicy -> its ExpressionWarnings."""


class AdmissionPolicyStatusController:
    name = "validatingadmissionpolicy-status-controller"
    workers = 1

    def __init__(self, context: Context, warnings: Warnings) -> None:
        self._client = context.client
        self._policies = context.informers.of(POLICIES)
        self._warnings = warnings

    def watch(self, enqueue: Enqueue) -> None:
        def changed(old: Object | None, new: Object | None) -> None:
            if new is not None and _is_behind(new):
                enqueue(Key("", name_of(new)))

        self._policies.add_handler(changed)

    async def reconcile(self, key: Key) -> float | None:
        policy = self._policies.get(key.name)
        if policy is None or not _is_behind(policy):
            return None
        warnings = self._warnings(policy)
        status = {
            "observedGeneration": policy["metadata"]["generation"],
            "typeChecking": {"expressionWarnings": warnings} if warnings else {},
        }
        patch = {
            "apiVersion": f"{POLICIES.group}/{POLICIES.version}",
            "kind": POLICIES.kind,
            "metadata": {"name": key.name},
            "status": status,
        }
        try:
            await self._client.patch(
                POLICIES,
                key.name,
                patch,
                subresource="status",
                patch_type="application/apply-patch+yaml",
                field_manager=FIELD_MANAGER,
                force=True,
            )
        except ApiError as error:
            if error.code != 404:
                raise
        return None


def _is_behind(policy: Object) -> bool:
    observed = (policy.get("status") or {}).get("observedGeneration", 0)
    return bool(policy["metadata"].get("generation", 0) > observed)
