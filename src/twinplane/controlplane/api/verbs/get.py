"""GET of one object: its stored bytes, looked up and sent."""

from __future__ import annotations

from twinplane.controlplane.api.contract import Response
from twinplane.controlplane.api.objects.entry import Entry
from twinplane.controlplane.api.runtime import Call, answer
from twinplane.kubeclient.errors import ApiError, not_found


def missing(call: Call) -> ApiError:
    resource = call.type.resource
    return not_found(resource.group, resource.plural, call.name)


def found(call: Call) -> Entry:
    """Raises NotFound."""
    entry = call.entry()
    if entry is None:
        raise missing(call)
    return entry


async def get(call: Call) -> Response:
    return answer(call.view(), found(call).value)
