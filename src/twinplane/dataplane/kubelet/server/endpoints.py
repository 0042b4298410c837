"""The kubelet's plain endpoints: health, pods, configuration, the node's log files, commands without streams.

Errors are plain text in upstream's words (`pkg/kubelet/server/server.go`).
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from cri_api.v1 import api_pb2 as cri

from twinplane.dataplane.kubelet.contract import CONTAINER_LOGS, POD_LOGS, RunningPods
from twinplane.dataplane.kubelet.server.streams import container_spec
from twinplane.dataplane.runtime.contract import Runtime, RuntimeFailure
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import uid_of

RUN_SECONDS = 0.0
"""No limit, as upstream."""
LOG_ROOTS = (POD_LOGS, CONTAINER_LOGS)
"""What of /var/log is this machine's own."""

Check = Callable[[], str]
"""What is wrong; empty when nothing is."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """`checks` are those of /healthz, by name."""

    pods: RunningPods
    runtime: Runtime
    checks: Mapping[str, Check]
    kubelet_configuration: Callable[[], Mapping[str, Any]]

    def routes(self) -> Iterable[web.RouteDef]:
        return [
            web.get("/healthz", self._healthz),
            web.get("/healthz/{check}", self._healthz),
            web.get("/pods", self._pods),
            web.get("/pods/", self._pods),
            web.get("/runningpods", self._running_pods),
            web.get("/runningpods/", self._running_pods),
            web.get("/configz", self._configz),
            web.get("/logs", self._logs),
            web.get("/logs/{path:.*}", self._logs),
            web.post("/run/{namespace}/{pod}/{container}", self._run),
            web.post("/run/{namespace}/{pod}/{uid}/{container}", self._run),
        ]

    # -- health ----------------------------------------------------------------------------------------------------

    async def _healthz(self, request: web.Request) -> web.Response:
        name = request.match_info.get("check")
        if name is not None and name not in self.checks:
            return not_found()
        wrong = {each: check() for each, check in self.checks.items() if name in (None, each)}
        lines = [f"[-]{each} failed: reason withheld" if why else f"[+]{each} ok" for each, why in wrong.items()]
        if any(wrong.values()):
            return web.Response(status=500, text="\n".join([*lines, "healthz check failed", ""]))
        return web.Response(
            text="\n".join([*lines, "healthz check passed", ""]) if "verbose" in request.query else "ok"
        )

    # -- pods ------------------------------------------------------------------------------------------------------

    async def _pods(self, request: web.Request) -> web.Response:
        return _pod_list(self.pods.pods())

    async def _running_pods(self, request: web.Request) -> web.Response:
        """What the runtime says that runs, whatever was asked for."""
        ready = cri.PodSandboxFilter(state=cri.PodSandboxStateValue(state=cri.SANDBOX_READY))
        running = cri.ContainerFilter(state=cri.ContainerStateValue(state=cri.CONTAINER_RUNNING))
        try:
            sandboxes = await self.runtime.list_pod_sandboxes(ready)
            containers = await self.runtime.list_containers(running)
        except RuntimeFailure as failure:
            return web.Response(status=500, text=failure.grpc_text)
        inside: dict[str, list[Object]] = {}
        for item in containers:
            entry = {"name": item.metadata.name, "image": item.image.image, "resources": {}}
            inside.setdefault(item.pod_sandbox_id, []).append(entry)
        return _pod_list([_running(sandbox, inside.get(sandbox.id, [])) for sandbox in sandboxes])

    # -- the node --------------------------------------------------------------------------------------------------

    async def _configz(self, request: web.Request) -> web.Response:
        return _json({"kubeletconfig": self.kubelet_configuration()})

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        """Files and directories below /var/log that belong to this machine; nothing above, whatever links say."""
        asked = request.match_info.get("path", "").strip("/")
        if not asked:
            return _listing([f"{root.name}/" for root in LOG_ROOTS])
        try:
            path = (Path("/var/log") / asked).resolve()
            if not any(path == root or root in path.parents for root in (root.resolve() for root in LOG_ROOTS)):
                return not_found()
            if path.is_dir():
                return _listing(sorted(f"{each.name}/" if each.is_dir() else each.name for each in path.iterdir()))
            return web.FileResponse(path, headers={"Content-Type": "text/plain"}) if path.is_file() else not_found()
        except (OSError, ValueError):
            return not_found()

    # -- commands --------------------------------------------------------------------------------------------------

    async def _run(self, request: web.Request) -> web.Response:
        named = request.match_info
        pod = self.pods.pod(named["namespace"], named["pod"])
        if pod is None:
            return web.Response(status=404, text="pod does not exist")
        container = self.pods.container_id(uid_of(pod), named["container"])
        if container is None or container_spec(pod, named["container"]) is None:
            return web.Response(status=500, text=f'container not found ("{named["container"]}")')
        command = request.query.get("cmd", "").split(" ")
        try:
            answer = await self.runtime.exec_sync(container, command, RUN_SECONDS)
        except RuntimeFailure as failure:
            return web.Response(status=500, text=failure.grpc_text)
        if answer.exit_code:
            said = answer.stderr.decode(errors="replace")
            text = f"command '{' '.join(command)}' exited with {answer.exit_code}: {said}"
            return web.Response(status=500, text=text)
        return web.Response(body=answer.stdout + answer.stderr, content_type="application/json")


def not_found() -> web.Response:
    return web.Response(status=404, text="404 page not found\n")


def _json(body: Mapping[str, Any]) -> web.Response:
    return web.Response(body=orjson.dumps(body), content_type="application/json")


def _pod_list(items: list[Object]) -> web.Response:
    return _json({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})


def _running(sandbox: cri.PodSandbox, containers: list[Object]) -> Object:
    named = sandbox.metadata
    return {
        "metadata": {"name": named.name, "namespace": named.namespace, "uid": named.uid, "creationTimestamp": None},
        "spec": {"containers": containers},
        "status": {},
    }


def _listing(names: list[str]) -> web.Response:
    entries = "".join(f'<a href="{html.escape(name)}">{html.escape(name)}</a>\n' for name in names)
    return web.Response(text=f"<pre>\n{entries}</pre>\n", content_type="text/html")
