"""exec, attach and port-forward of pods: checked here, spoken between the client and the kubelet of the pod's node.

The upgrade request goes to the kubelet under the path and parameters that kubelets know; its 101 goes back to the
client, and what follows is passed on byte for byte, whichever protocol the two agreed on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from twinplane.controlplane.api.contract import Response
from twinplane.controlplane.api.options import boolean
from twinplane.controlplane.api.runtime import Call
from twinplane.controlplane.api.streams.authorization import require_create
from twinplane.controlplane.api.streams.dialing import (
    ANSWER_SECONDS,
    HOP_BY_HOP,
    answered,
    backend_error,
    closed_on_failure,
)
from twinplane.controlplane.api.streams.upstream import Broken
from twinplane.controlplane.api.verbs.admission import Admission
from twinplane.controlplane.api.verbs.get import found
from twinplane.controlplane.api.verbs.logs import container_of
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import FieldError, bad_request, invalid, not_found
from twinplane.kubeclient.resources import NODES

_KUBELET_FLAGS = (("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty"))
"""What the API calls them, and what kubelets do."""
_KINDS = {"exec": "PodExecOptions", "attach": "PodAttachOptions", "portforward": "PodPortForwardOptions"}


async def connect(call: Call) -> Response:
    """Raises BadRequest for options, containers and pods that cannot be streamed to, and Forbidden."""
    request = call.request
    if "upgrade" not in request.headers:
        raise bad_request("Upgrade request required")
    require_create(call)
    options = _options(call)
    pod = found(call).object
    path, query = _location(call, pod, options)
    await Admission(call, "CONNECT", options, None, {}, dry_run=False).run()
    node = _node_of(call, pod)
    try:
        upstream = await call.runtime.kubelet.connect(node)
    except OSError as error:
        raise backend_error(error) from error
    async with closed_on_failure(upstream):
        headers = [*passed_on(request.headers, upgrade=True), ("Host", node["metadata"]["name"])]
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                head = await upstream.ask(request.method, f"{quote(path)}?{query}", headers)
        except (Broken, TimeoutError) as error:
            raise backend_error(error) from error
        return await answered(upstream, head, request.method)


def passed_on(headers: Mapping[str, str], *, upgrade: bool) -> list[tuple[str, str]]:
    """A client's headers without what is between it and the API server: who it is, and how it is connected."""
    kept = [
        (name, value)
        for name, value in headers.items()
        if name not in _NOT_PASSED and not name.startswith("impersonate-") and name not in HOP_BY_HOP
    ]
    if upgrade:
        kept += [("Connection", "Upgrade"), ("Upgrade", headers.get("upgrade", ""))]
    return kept


_NOT_PASSED = frozenset({"authorization", "host", "content-length", "expect", "x-forwarded-for"})


def _options(call: Call) -> Object:
    query = call.request.query
    options: Object = {"kind": _KINDS[call.subresource], "apiVersion": "v1"}
    if call.subresource == "portforward":
        return options | ({"ports": _ports(call)} if "ports" in query else {})
    options |= {name: True for name, _ in _KUBELET_FLAGS if boolean(query, name)}
    if query.get("container"):
        options["container"] = query["container"]
    if call.subresource == "exec" and "command" in query:
        options["command"] = list(call.request.queries.get("command") or [query["command"]])
    return options


def _ports(call: Call) -> list[int]:
    """Python's client joins them by commas, others repeat the parameter."""
    ports = []
    for text in call.request.queries.get("ports") or [call.request.query["ports"]]:
        for part in text.split(","):
            if not part.strip().isdecimal() or not 0 < int(part) < 65536:
                cause = FieldError("FieldValueInvalid", "ports", "must be between 1 and 65535, inclusive", part)
                raise invalid("", "PodPortForwardOptions", call.name, [cause])
            ports.append(int(part))
    return ports


def _location(call: Call, pod: Object, options: Object) -> tuple[str, str]:
    """Path and query for the kubelet."""
    if call.subresource == "portforward":
        ports = ",".join(str(port) for port in options.get("ports", ()))
        return f"/portForward/{call.namespace}/{call.name}", urlencode({"port": ports} if ports else {})
    container = container_of(pod, options.get("container", ""))
    parameters = [(theirs, "1") for ours, theirs in _KUBELET_FLAGS if options.get(ours)]
    parameters += [("command", word) for word in options.get("command", ())]
    return f"/{call.subresource}/{call.namespace}/{call.name}/{container}", urlencode(parameters)


def _node_of(call: Call, pod: Object) -> Object:
    name = pod["spec"].get("nodeName")
    if not name:
        raise bad_request(f"pod {call.name} does not have a host assigned")
    node = call.runtime.cache.get(NODES, "", name)
    if node is None:
        raise not_found("", "nodes", name)
    return node.object
