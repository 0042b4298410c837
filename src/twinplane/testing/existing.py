"""A cluster that was there before the tests (`--twinplane KUBECONFIG`), with the interface of a throwaway one.

The same tests then judge a real cluster. What a real cluster does not let a test do (more nodes, other users' names)
skips the test. For pytest only, hence the import.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from twinplane.kubeclient import resources
from twinplane.kubeclient.http import HttpClient
from twinplane.testing.kubeconfigs import Access, UnusableKubeconfig, read_kubeconfig

QUIET_SECONDS = 1.0
POLL_SECONDS = 0.1
WATCHED = (
    resources.PODS,
    resources.DEPLOYMENTS,
    resources.REPLICA_SETS,
    resources.STATEFUL_SETS,
    resources.DAEMON_SETS,
    resources.JOBS,
    resources.ENDPOINT_SLICES,
    resources.CONFIG_MAPS,
)


@asynccontextmanager
async def existing_cluster(where: str) -> AsyncIterator[ExistingCluster]:
    """`where` is a kubeconfig file, or the URL of an endpoint that asks for no credentials (`kubectl proxy`).

    Raises `UnusableKubeconfig` and OSError.
    """
    access, path = _access(where)
    async with HttpClient(access.url, access.context, lambda: _token(access), user_agent="twinplane-test") as client:
        yield ExistingCluster(access, path, client)


def _access(where: str) -> tuple[Access, Path | None]:
    if where.startswith(("http://", "https://")):
        return Access(where, None), None
    path = Path(where).expanduser()
    return read_kubeconfig(path), path


async def _token(access: Access) -> str:
    if not access.command:
        return access.token
    import os

    process = await asyncio.create_subprocess_exec(
        *access.command, env=os.environ | dict(access.environment), stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    if process.returncode:
        raise UnusableKubeconfig(f"{access.command[0]} gave no credential: exit code {process.returncode}")
    return str(json.loads(printed)["status"]["token"])


class ExistingCluster:
    """Implements `AsyncCluster`. Made by `existing_cluster`."""

    def __init__(self, access: Access, path: Path | None, client: HttpClient) -> None:
        self.url = access.url
        self._path = path
        self._client = client

    @property
    def kubeconfig(self) -> Path:
        if self._path is None:
            pytest.skip("the cluster was given by its URL, not by a kubeconfig")
        return self._path

    def kubeconfig_text(self, user: str = "", groups: Sequence[str] = ()) -> str:
        self._as_configured(user)
        return self.kubeconfig.read_text()

    def client(self, user: str = "", groups: Sequence[str] = ()) -> HttpClient:
        self._as_configured(user)
        return self._client

    async def add_nodes(
        self,
        count: int = 1,
        *,
        instance_type: str = "",
        labels: Mapping[str, str] | None = None,
        taints: Sequence[str] = (),
    ) -> list[str]:
        _skip("does not take simulated nodes")

    async def terminate_node(self, name: str) -> None:
        _skip("keeps its nodes")

    async def settle(self, timeout: float = 60.0) -> None:
        """Until workloads have not changed for a second: all that can be seen from outside. Raises `TimeoutError`."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout):
            seen, since = await self._versions(), loop.time()
            while loop.time() - since < QUIET_SECONDS:
                await asyncio.sleep(POLL_SECONDS)
                now = await self._versions()
                if now != seen:
                    seen, since = now, loop.time()

    async def _versions(self) -> frozenset[tuple[str, str]]:
        lists = await asyncio.gather(*(self._client.list(resource) for resource in WATCHED))
        return frozenset(
            (body["metadata"]["uid"], body["metadata"]["resourceVersion"])
            for found in lists
            for body in found.items
            # Leader election in ConfigMaps never comes to rest.
            if "control-plane.alpha.kubernetes.io/leader" not in (body["metadata"].get("annotations") or {})
        )

    def _as_configured(self, user: str) -> None:
        if user:
            _skip("is used with the credentials of its kubeconfig only")


def _skip(why: str) -> NoReturn:
    pytest.skip(f"an existing cluster {why}")
