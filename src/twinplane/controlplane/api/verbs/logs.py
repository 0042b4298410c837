"""pods/NAME/log: which container, checked as upstream checks it, and then the kubelet's answer passed on."""

from __future__ import annotations

from twinplane.controlplane.api.contract import Response
from twinplane.controlplane.api.options import boolean, integer
from twinplane.controlplane.api.runtime import Call
from twinplane.controlplane.api.streams.websocket import LOG_PROTOCOLS, framed, is_upgrade
from twinplane.controlplane.api.verbs.get import found
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import FieldError, bad_request, invalid, not_found
from twinplane.kubeclient.resources import NODES

_FLAGS = ("follow", "previous", "timestamps", "insecureSkipTLSVerifyBackend")
_PASSED_ON = ("follow", "previous", "timestamps", "sinceTime", "sinceSeconds", "tailLines", "limitBytes", "stream")
_LISTS = ("containers", "initContainers", "ephemeralContainers")


async def log(call: Call) -> Response:
    query = call.request.query
    for flag in _FLAGS:
        boolean(query, flag)
    _check_numbers(call)
    pod = found(call).object
    container = container_of(pod, query.get("container", ""))
    node_name = pod["spec"].get("nodeName")
    if not node_name:
        # Upstream answers with an empty log as long as nothing can have been written.
        return Response(200, b"", content_type="text/plain")
    node = call.runtime.cache.get(NODES, "", node_name)
    if node is None:
        raise not_found("", "nodes", node_name)
    passed = {name: query[name] for name in _PASSED_ON if name in query}
    path = f"/containerLogs/{call.namespace}/{call.name}/{container}"
    answer = await call.runtime.kubelet.get(node.object, path, passed)
    if is_upgrade(call.request.headers):
        return framed(call.request.headers, answer, LOG_PROTOCOLS)
    return answer


def _check_numbers(call: Call) -> None:
    query = call.request.query
    errors = []
    tail, limit, since = (integer(query, name) for name in ("tailLines", "limitBytes", "sinceSeconds"))
    if tail is not None and tail < 0:
        errors.append(FieldError("FieldValueInvalid", "tailLines", "must be greater than or equal to 0", tail))
    if limit is not None and limit < 1:
        errors.append(FieldError("FieldValueInvalid", "limitBytes", "must be greater than 0", limit))
    if since is not None and "sinceTime" in query:
        detail = "at most one of `sinceTime` or `sinceSeconds` may be specified"
        errors.append(FieldError("FieldValueForbidden", "", detail))
    elif since is not None and since < 1:
        errors.append(FieldError("FieldValueInvalid", "sinceSeconds", "must be greater than 0", since))
    if errors:
        raise invalid("", "PodLogOptions", call.name, errors)


def container_of(pod: Object, wanted: str) -> str:
    """The container meant. Raises BadRequest in upstream's words."""
    name, spec = pod["metadata"]["name"], pod["spec"]
    names = {field: [container["name"] for container in spec.get(field) or ()] for field in _LISTS}
    if wanted:
        if any(wanted in group for group in names.values()):
            return wanted
        raise bad_request(f"container {wanted} is not valid for pod {name}")
    annotated = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    if annotated in names["containers"]:
        return str(annotated)
    if len(names["containers"]) == 1:
        return str(names["containers"][0])
    if not names["containers"]:
        raise bad_request(f"a container name must be specified for pod {name}")
    message = f"a container name must be specified for pod {name}, choose one of: [{' '.join(names['containers'])}]"
    if names["initContainers"]:
        message += f" or one of the init containers: [{' '.join(names['initContainers'])}]"
    raise bad_request(message)
