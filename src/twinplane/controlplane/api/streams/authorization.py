"""Who may open a stream: a WebSocket starts as a GET, and would otherwise get by with the right to read.

KEP-4006, feature AuthorizePodWebsocketUpgradeCreatePermission: on by default since 1.35, unknown before.
"""

from __future__ import annotations

from twinplane.controlplane.api.runtime import Call
from twinplane.controlplane.auth.authorization import denial
from twinplane.controlplane.auth.contract import Attributes
from twinplane.kubeclient.errors import forbidden

_SINCE_MINOR = 35


def require_create(call: Call) -> None:
    """Raises Forbidden for a GET of somebody who may not `create` the subresource."""
    if call.route.verb != "get" or int(str(call.runtime.version["minor"]).rstrip("+")) < _SINCE_MINOR:
        return
    found = call.route
    attributes = Attributes(
        call.user,
        "create",
        found.group,
        found.version,
        found.resource,
        found.subresource,
        found.namespace,
        found.name,
    )
    decision = call.runtime.authorizer.authorize(attributes)
    if not decision.allowed:
        raise forbidden(found.group, found.resource, found.name, denial(attributes, decision.reason))
