"""An autoscaler's metrics all the way: through the API server to an adapter behind an APIService, over TLS."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import time

import pytest
from aiohttp import web

from tests.unit.api.harness import Api
from tests.unit.extensions.harness import conditions, extended, https_server, tls_files, until
from tests.unit.extensions.test_aggregation import SERVICES, publish
from twinplane.controlplane.api.extensions.aggregation.certificate import front_proxy_certificate
from twinplane.controlplane.controllers.horizontalpodautoscaler.metrics import MetricsApi, MetricsError
from twinplane.controlplane.controllers.scales import Scales
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import REPLICA_SETS

CUSTOM, EXTERNAL = "custom.metrics.k8s.io", "external.metrics.k8s.io"


class Adapter:
    """Serves the older version of custom metrics alone, as many do."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(str(request.rel_url))
        parts = request.path.strip("/").split("/")
        if len(parts) == 3 and parts[0] == "apis":
            return web.json_response({"kind": "APIResourceList", "apiVersion": "v1", "resources": []})
        if parts[-1] == "rps":
            items: list[Object] = [
                {"describedObject": {"kind": "Pod", "name": name}, "value": value, "timestamp": "2026-01-01T00:00:00Z"}
                for name, value in (("p1", "1500m"), ("p2", "2"))
            ]
            # Of one object there is one value.
            items = items if parts[-2] == "*" else items[:1]
            return web.json_response({"kind": "MetricValueList", "items": items})
        if parts[-1] == "depth":
            return web.json_response({"kind": "ExternalMetricValueList", "items": [{"value": "30"}, {"value": "12"}]})
        return web.json_response({"kind": "Status", "status": "Failure", "code": 404, "message": "no"}, status=404)


def api_service(group: str, version: str, ca: Path) -> Object:
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"{version}.{group}"},
        "spec": {
            "service": {"namespace": "default", "name": "metrics"},
            "group": group,
            "version": version,
            "caBundle": base64.b64encode(ca.read_bytes()).decode(),
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
        },
    }


@asynccontextmanager
async def adapted(directory: Path) -> AsyncIterator[tuple[Api, Adapter]]:
    adapter, (proxy_ca, proxy_key) = Adapter(), tls_files(directory, "authority")
    files = tls_files(directory, "metrics.default.svc")

    def certificate() -> tuple[str, str]:
        return front_proxy_certificate(str(proxy_ca), str(proxy_key), time())

    async with https_server(adapter, files, client_ca=proxy_ca) as port, extended(certificate=certificate) as api:
        await publish(api, port)
        for group in (CUSTOM, EXTERNAL):
            body = api_service(group, "v1beta1", files[0])
            await api.json("POST", SERVICES, body, expect=201)
            name = body["metadata"]["name"]
            await until(api, f"{SERVICES}/{name}", lambda found: conditions(found).get("Available") == "True")
        yield api, adapter


async def test_metrics_of_an_adapter(tmp_path: Path) -> None:
    async with adapted(tmp_path) as (api, adapter):
        metrics = MetricsApi(api.client, Scales(api.client, lambda: [REPLICA_SETS]).resource_of)
        wanted = {"name": "rps", "selector": {"matchLabels": {"verb": "GET"}}}
        found = await metrics.pods("shop", "app=web", wanted)
        assert {name: sample.value for name, sample in found.items()} == {"p1": 1500, "p2": 2000}
        assert adapter.asked[-1] == (
            f"/apis/{CUSTOM}/v1beta1/namespaces/shop/pods/*/rps?labelSelector=app%3Dweb&metricLabelSelector=verb%3DGET"
        )
        described = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web"}
        assert await metrics.object("shop", described, {"name": "rps"}) == 1500
        assert adapter.asked[-1] == f"/apis/{CUSTOM}/v1beta1/namespaces/shop/replicasets.apps/web/rps"
        queue = {"name": "depth", "selector": {"matchLabels": {"queue": "a"}}}
        assert await metrics.external("shop", queue) == [30_000, 12_000]
        assert adapter.asked[-1] == f"/apis/{EXTERNAL}/v1beta1/namespaces/shop/depth?labelSelector=queue%3Da"
        with pytest.raises(MetricsError, match="unable to fetch metrics from external metrics API"):
            await metrics.external("shop", {"name": "nothing"})
