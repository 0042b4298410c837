"""What kube-proxy keeps of Services and EndpointSlices; stale flows; health checks."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from twinplane.clock import SystemClock
from twinplane.dataplane.network.proxy.conntrack import Flow, Fronts, stale
from twinplane.dataplane.network.proxy.health import Checked, HealthServers
from twinplane.dataplane.network.proxy.objects import PARSED, Endpoint, Port, Service, Slice, service_of, slice_of
from twinplane.region.ports import free_ports


def service(labels: dict[str, str] | None = None, **spec: Any) -> Service | None:
    body = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default", "resourceVersion": "1", "labels": labels or {}},
        "spec": {"clusterIP": "10.100.0.1", "ports": [{"port": 80, "nodePort": 30080}], **spec},
        "status": {
            "loadBalancer": {"ingress": [{"hostname": "x"}, {"ip": "192.0.2.1"}, {"ip": "1.1.1.1", "ipMode": "Proxy"}]}
        },
    }
    found: Service | None = service_of(body)[PARSED]
    return found


def test_services() -> None:
    made = service(sessionAffinity="ClientIP", externalTrafficPolicy="Local")
    assert made is not None
    assert made.ports == (Port("", "tcp", 80, 30080),)
    assert (made.affinity_seconds, made.external_local, made.ingress_ips) == (10_800, True, ("192.0.2.1",))
    assert service(clusterIP="None") is None
    assert service(clusterIP="fd00::1") is None
    assert service(type="ExternalName") is None
    assert service({"service.kubernetes.io/service-proxy-name": "other"}) is None
    only_ipv6 = service(loadBalancerSourceRanges=["fd00::/8"])
    assert only_ipv6 is not None
    assert only_ipv6.source_ranges == ("255.255.255.255/32",)


def test_slices() -> None:
    body = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}, {"name": "none"}],
        "endpoints": [
            {"addresses": ["10.0.0.1"], "nodeName": "n"},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": False, "serving": True, "terminating": True}},
            {"addresses": ["10.0.0.3"], "conditions": {"ready": False}, "hints": {"forZones": [{"name": "z"}]}},
        ],
    }
    assert slice_of(body)[PARSED] == Slice(
        "default/web",
        (Port("http", "tcp", 8080),),
        (
            Endpoint("10.0.0.1", "n"),
            Endpoint("10.0.0.2", "", False, True, True),
            Endpoint("10.0.0.3", "", False, False, False, ("z",)),
        ),
    )
    assert slice_of({**body, "addressType": "IPv6"})[PARSED] is None


def test_stale_flows() -> None:
    fronts = Fronts({("10.100.0.1", 53): frozenset({"10.0.0.1 . 5353"})}, {30053: frozenset()})
    nodes = frozenset({"10.0.0.9"})

    def is_stale(destination: str, port: int, by: str, number: int) -> bool:
        return stale(Flow(destination, port, by, number, b""), fronts, nodes)

    assert not is_stale("10.100.0.1", 53, "10.0.0.1", 5353)
    assert is_stale("10.100.0.1", 53, "10.0.0.2", 5353)
    assert is_stale("10.100.0.1", 53, "10.100.0.1", 53)
    assert not is_stale("10.100.0.2", 53, "10.0.0.2", 5353)
    assert is_stale("10.0.0.9", 30053, "10.0.0.2", 5353)
    assert not is_stale("10.0.0.8", 30053, "10.0.0.2", 5353)


async def _get(port: int, path: str) -> tuple[str, dict[str, Any]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head.split(b"\r\n")[0].decode(), json.loads(body) if body.startswith(b"{") else {}


async def test_health_checks() -> None:
    healthz, port = free_ports(2, "127.0.0.1")
    health = HealthServers(SystemClock(), healthz)
    try:
        health.synced_at = 1.0
        await health.update({port: Checked("default", "web", 2)})
        line, content = await _get(port, "/")
        assert line == "HTTP/1.1 200 OK"
        assert content["service"] == {"namespace": "default", "name": "web"}
        assert content["localEndpoints"] == 2
        await health.update({port: Checked("default", "web", 0)})
        assert (await _get(port, "/"))[0].startswith("HTTP/1.1 503")
        assert (await _get(healthz, "/healthz"))[0] == "HTTP/1.1 200 OK"
        assert (await _get(healthz, "/other"))[0].startswith("HTTP/1.1 404")
        health.behind_since = 1.0
        assert (await _get(healthz, "/healthz"))[0].startswith("HTTP/1.1 503")
    finally:
        health.close()
