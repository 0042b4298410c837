"""configMap, secret, downwardAPI and projected volumes: files out of objects, renewed in place when those change.

One plugin with four names: a projected volume has a list of sources, the others are a list of one. What came of a
volume the last time is remembered by the versions of what it was made of, so a refresh that finds nothing new costs a
few look-ups.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twinplane.dataplane.kubelet.contract import Mounted
from twinplane.dataplane.volumes import atomic_writer, mounts, ownership
from twinplane.dataplane.volumes.atomic_writer import File
from twinplane.dataplane.volumes.contract import Node, Request, SetUpFailed
from twinplane.dataplane.volumes.projections import DEFAULT_MODE, SOURCES, Context
from twinplane.dataplane.volumes.tokens import Tokens
from twinplane.kubeclient.meta import annotations_of, labels_of, uid_of

DIRECTORIES = {
    "configMap": "kubernetes.io~configmap",
    "secret": "kubernetes.io~secret",
    "downwardAPI": "kubernetes.io~downward-api",
    "projected": "kubernetes.io~projected",
}
IN_MEMORY = frozenset({"secret", "downwardAPI", "projected"})
"""What may be confidential never reaches the disk."""


class Projected:
    def __init__(self, kind: str, node: Node, tokens: Tokens) -> None:
        self._kind = kind
        self._node = node
        self._tokens = tokens
        self._made_of: dict[tuple[str, str], tuple[object, ...]] = {}
        """(pod uid, volume) -> the versions that are on disk."""

    async def set_up(self, request: Request) -> Mounted:
        path = request.directory(DIRECTORIES[self._kind])
        payload, made_of = await self._collect(request)
        path.mkdir(parents=True, exist_ok=True)
        if self._kind in IN_MEMORY and not mounts.has_own_filesystem(path):
            mounts.mount_memory(path, None)
        path.chmod(0o777)
        self._write(request, payload)
        self._made_of[uid_of(request.pod), request.name] = made_of
        return Mounted(path, read_only=True)

    async def refresh(self, request: Request) -> None:
        """Raises `SetUpFailed`; what is on disk then stays."""
        key = (uid_of(request.pod), request.name)
        payload, made_of = await self._collect(request)
        if self._made_of.get(key) != made_of:
            self._write(request, payload)
            self._made_of[key] = made_of

    def forget(self, uid: str) -> None:
        for key in [key for key in self._made_of if key[0] == uid]:
            del self._made_of[key]

    def _write(self, request: Request, payload: Mapping[str, File]) -> None:
        group = ownership.of_pod(request.pod, read_only=True)
        path = request.directory(DIRECTORIES[self._kind])
        try:
            atomic_writer.write(path, payload, group, self._node.clock.now())
        except ValueError as error:
            raise SetUpFailed(str(error)) from error

    async def _collect(self, request: Request) -> tuple[dict[str, File], tuple[object, ...]]:
        source, versions = request.source, list[str]()
        mode = source.get("defaultMode")
        context = Context(self._node, request.pod, self._tokens, DEFAULT_MODE if mode is None else int(mode), versions)
        payload: dict[str, File] = {}
        parts = [{self._kind: source}] if self._kind != "projected" else source.get("sources") or []
        for part in parts:
            for kind, projection in part.items():
                payload |= await self._part(context, kind, projection)
        told = (dict(labels_of(request.pod)), dict(annotations_of(request.pod)))
        tokens = tuple(file.content for path, file in payload.items()) if _has_token(parts) else ()
        return payload, (tuple(versions), told, tokens)

    async def _part(self, context: Context, kind: str, projection: Any) -> dict[str, File]:
        make = SOURCES.get(kind)
        if make is None:
            raise SetUpFailed(f"unsupported projection source {kind}")
        return await make(context, projection or {})


def _has_token(parts: list[dict[str, Any]]) -> bool:
    return any("serviceAccountToken" in part for part in parts)
