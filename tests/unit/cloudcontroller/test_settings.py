"""Annotations of Services, as values."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.cloudcontroller.world import service
from twinplane.controlplane.cloudcontroller.aws import Unbuildable
from twinplane.controlplane.cloudcontroller.service.classic import Listener, attributes, health_check, listeners
from twinplane.controlplane.cloudcontroller.service.settings import Settings, kind_of, read

CERTIFICATE = "arn:aws:acm:us-west-2:123456789012:certificate/1"


def settings(**annotations: str) -> Settings:
    found = read(service("web", **dict[str, Any](annotations)))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("annotations", "spec", "kind"),
    [
        ({}, {}, "classic"),
        ({"-type": "nlb"}, {}, "nlb"),
        ({"-type": "external"}, {}, "external"),
        ({"-type": "nlb-ip"}, {}, "external"),
        ({}, {"loadBalancerClass": "service.k8s.aws/nlb"}, "external"),
        ({"-type": "nlb"}, {"loadBalancerClass": "example.com/mine"}, None),
        ({}, {"type": "ClusterIP"}, None),
    ],
)
def test_kinds(annotations: dict[str, str], spec: dict[str, str], kind: str | None) -> None:
    written = service("web")
    for key, value in annotations.items():
        written["metadata"]["annotations"]["service.beta.kubernetes.io/aws-load-balancer" + key] = value
    written["spec"] |= spec
    assert kind_of(written) == kind


@pytest.mark.parametrize(
    ("annotations", "scheme"),
    [
        ({}, "internet-facing"),
        ({"internal": "true"}, "internal"),
        ({"internal": "0.0.0.0/0"}, "internal"),
        ({"internal": "false"}, "internet-facing"),
        ({"scheme": "internal"}, "internal"),
    ],
)
def test_schemes(annotations: dict[str, str], scheme: str) -> None:
    assert settings(**annotations).scheme == scheme


@pytest.mark.parametrize(
    ("annotations", "front", "back", "certificate"),
    [
        ({}, "TCP", "TCP", ""),
        ({"backend_protocol": "http"}, "HTTP", "HTTP", ""),
        ({"ssl_cert": CERTIFICATE}, "SSL", "TCP", CERTIFICATE),
        ({"ssl_cert": CERTIFICATE, "backend_protocol": "http"}, "HTTPS", "HTTP", CERTIFICATE),
        ({"ssl_cert": CERTIFICATE, "ssl_ports": "443"}, "TCP", "TCP", ""),
        ({"ssl_cert": CERTIFICATE, "ssl_ports": "HTTP,443"}, "SSL", "TCP", CERTIFICATE),
    ],
)
def test_listeners(annotations: dict[str, str], front: str, back: str, certificate: str) -> None:
    (made,) = listeners(service(), settings(**annotations))
    assert made == Listener(80, front, 30080, back, certificate)


def test_health_check_and_attributes() -> None:
    found = settings(
        healthcheck_protocol="HTTP",
        healthcheck_path="/ready",
        healthcheck_interval="20",
        cross_zone_load_balancing_enabled="true",
        connection_idle_timeout="120",
        connection_draining_enabled="true",
    )
    assert health_check(service(), found)["Target"] == "HTTP:30080/ready"
    assert health_check(service(), found)["Interval"] == 20
    assert attributes(found) == {
        "CrossZoneLoadBalancing": {"Enabled": True},
        "ConnectionDraining": {"Enabled": True, "Timeout": 300},
        "ConnectionSettings": {"IdleTimeout": 120},
    }


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        ({"scheme": "public"}, "unknown scheme: public"),
        ({"connection_idle_timeout": "long"}, "connection-idle-timeout=long"),
        ({"cross_zone_load_balancing_enabled": "maybe"}, "cross-zone-load-balancing-enabled=maybe"),
    ],
)
def test_what_makes_no_sense_is_said(annotations: dict[str, str], message: str) -> None:
    with pytest.raises(Unbuildable, match=message):
        settings(**annotations)
