"""The proxy subresources: a client's HTTP request, sent on to a pod, a service's endpoint or a node's kubelet.

What upstream's UpgradeAwareHandler and its transport do: who the client is stays here, hop-by-hop headers end here,
`X-Forwarded-*` say where the request came from, and redirects and a page's links within
the target stay below the proxy's path.
"""

from __future__ import annotations

import posixpath
import ssl
from urllib.parse import quote, urlsplit, urlunsplit

from twinplane.controlplane.api.contract import Request, Response
from twinplane.controlplane.api.runtime import Call
from twinplane.controlplane.api.streams.connect import passed_on
from twinplane.controlplane.api.streams.dialing import answered, closed_on_failure, service_error
from twinplane.controlplane.api.streams.links import moved
from twinplane.controlplane.api.streams.targets import Target, target_of
from twinplane.controlplane.api.streams.upstream import Broken, Upstream
from twinplane.controlplane.api.verbs.admission import Admission

_SAFE = "/:@!$&'()*+,;=~-._"
"""What Go leaves unescaped in a path."""


async def proxy(call: Call) -> Response:
    """Raises ServiceUnavailable when the target cannot be reached."""
    request = call.request
    target = target_of(call)
    path, prefix = _below(call)
    options = {"kind": f"{call.type.resource.kind}ProxyOptions", "apiVersion": "v1"}
    await Admission(call, "CONNECT", options | ({"path": path} if path else {}), None, {}, dry_run=False).run()
    upgrade = "upgrade" in request.headers
    if not path and not upgrade and request.method in ("GET", "HEAD"):
        # Relative links of the target would otherwise lead out of the proxy.
        question = f"?{request.query_text}" if request.query_text else ""
        return Response(301, content_type="text/plain", headers={"location": f"{quote(prefix, _SAFE)}/{question}"})
    try:
        async with closed_on_failure(await _reached(call, target)) as upstream:
            headers = [*passed_on(request.headers, upgrade=upgrade), *_forwarded(request, path, prefix, target)]
            if request.body or request.method in ("POST", "PUT", "PATCH"):
                headers.append(("Content-Length", str(len(request.body))))
            question = f"?{request.query_text}" if request.query_text else ""
            head = await upstream.ask(request.method, quote(path or "/", _SAFE) + question, headers, request.body)
            response = await answered(upstream, head, request.method)
    except (Broken, OSError) as error:
        raise service_error(error) from error
    for name in [name for name in response.headers if name.startswith("access-control-")]:
        del response.headers[name]
    if "location" in response.headers:
        response.headers["location"] = relocated(response.headers["location"], prefix, target, request)
    media_type = response.content_type.partition(";")[0].strip().lower()
    if response.stream is not None and media_type == "text/html" and "content-encoding" not in response.headers:
        response.stream = moved(response.stream, lambda link: relocated(link, prefix, target, request))
    return response


def _below(call: Call) -> tuple[str, str]:
    """The path behind the proxy, and the one in front of it."""
    marker = f"/{call.type.resource.plural}/{call.name}/proxy"
    before, _, path = call.request.path.partition(marker)
    return path, before + marker


async def _reached(call: Call, target: Target) -> Upstream:
    kubelet = call.runtime.kubelet
    if not target.host:
        assert target.node is not None
        return await kubelet.connect(target.node)
    upstream = await kubelet.reach(target.node, target.host, target.port)
    if target.scheme == "https":
        # As upstream: what pods serve is signed by nobody the API server knows.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        async with closed_on_failure(upstream):
            await upstream.start_tls(context)
    return upstream


def _forwarded(request: Request, path: str, prefix: str, target: Target) -> list[tuple[str, str]]:
    host = request.headers.get("host") or target.authority
    return [
        ("Host", host),
        ("X-Forwarded-Uri", quote(prefix + path, _SAFE)),
        ("X-Forwarded-Host", host),
        ("X-Forwarded-For", ", ".join(filter(None, (request.headers.get("x-forwarded-for"), request.source)))),
        ("X-Forwarded-Proto", "https"),
    ]


def relocated(location: str, prefix: str, target: Target, request: Request) -> str:
    """A redirect of the target: below `prefix` when it is to itself, unchanged when it leads elsewhere."""
    try:
        parts = urlsplit(location)
    except ValueError:
        return location
    elsewhere = parts.netloc and parts.netloc not in (target.authority, request.headers.get("host"))
    if elsewhere or not parts.path.startswith("/") or parts.path.startswith(prefix):
        return location
    path = posixpath.join(prefix, parts.path.lstrip("/"))
    return urlunsplit(("", "", path, parts.query, parts.fragment))
