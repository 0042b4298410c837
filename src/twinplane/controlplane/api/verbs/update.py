"""UPDATE: the body replaces the stored object, or the part of it that a subresource stands for."""

from __future__ import annotations

from twinplane.controlplane.api.contract import Response
from twinplane.controlplane.api.options import WriteOptions, write_options
from twinplane.controlplane.api.runtime import Call
from twinplane.controlplane.api.verbs.create import create_stored
from twinplane.controlplane.api.verbs.get import missing
from twinplane.controlplane.api.verbs.write import Update, decode_body, fit_namespace, update_stored, written
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import bad_request

_CREATED_BY_UPDATE = frozenset(
    {
        *(("", "endpoints"), ("", "events"), ("", "limitranges"), ("", "services")),
        *(("coordination.k8s.io", "leases"), ("rbac.authorization.k8s.io", "clusterroles")),
        *(("rbac.authorization.k8s.io", "clusterrolebindings"), ("rbac.authorization.k8s.io", "roles")),
        *(("rbac.authorization.k8s.io", "rolebindings"), ("policy", "poddisruptionbudgets")),
    }
)
"""Types of which a PUT may create an object (upstream's AllowCreateOnUpdate)."""


async def update(call: Call) -> Response:
    options = write_options(call.request, "UpdateOptions")
    wanted = _wanted(call, options)
    if call.entry() is None:
        return await _create(call, wanted, options)
    first = [wanted]

    def change(_: Object) -> Object:
        """Whoever lost against another write begins anew with what was sent."""
        return first.pop() if first else _wanted(call, options)

    return written(call, await update_stored(call, Update(change, options)))


def _wanted(call: Call, options: WriteOptions) -> Object:
    body = decode_body(call, options)
    fit_name(call, body)
    return call.to_stored(body)


def fit_name(call: Call, body: Object) -> None:
    """Name and namespace of the body are those of the path. Raises BadRequest."""
    metadata = body.get("metadata")
    name = (metadata or {}).get("name") or ""
    if metadata is None or not name:
        why = f"the name of the object ({call.name} based on URL) was undeterminable: name must be provided"
        raise bad_request(why)
    if name != call.name:
        raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({call.name})")
    namespace = metadata.get("namespace") or ""
    if call.namespace and namespace not in ("", call.namespace):
        raise bad_request(
            f"the namespace of the object ({namespace}) does not match the namespace on the request ({call.namespace})"
        )
    fit_namespace(call, metadata)


async def _create(call: Call, body: Object, options: WriteOptions) -> Response:
    resource = call.type.resource
    if call.subresource or (resource.group, resource.plural) not in _CREATED_BY_UPDATE:
        raise missing(call)
    if body["metadata"].get("resourceVersion"):
        # A named revision says that the object was there.
        raise missing(call)
    return written(call, await create_stored(call, body, options), 201)
