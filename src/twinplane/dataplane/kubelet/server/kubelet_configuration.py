"""The KubeletConfiguration in effect: EKS's defaults and the NodeConfig. For /configz and the parts that heed it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twinplane.dataplane.node.contract import NodeConfiguration

DEFAULTS: Mapping[str, Any] = {
    "address": "0.0.0.0",
    "authentication": {
        "anonymous": {"enabled": False},
        "webhook": {"cacheTTL": "2m0s", "enabled": True},
        "x509": {"clientCAFile": "/etc/kubernetes/pki/ca.crt"},
    },
    "authorization": {"mode": "Webhook", "webhook": {"cacheAuthorizedTTL": "5m0s", "cacheUnauthorizedTTL": "30s"}},
    "cgroupDriver": "cgroupfs",
    "cgroupRoot": "/",
    "containerLogMaxFiles": 5,
    "containerLogMaxSize": "10Mi",
    "containerLogMaxWorkers": 1,
    "containerLogMonitorInterval": "10s",
    "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
    "cpuManagerPolicy": "none",
    "enableControllerAttachDetach": True,
    "enableDebuggingHandlers": True,
    "enforceNodeAllocatable": ["pods"],
    "evictionHard": {"memory.available": "100Mi", "nodefs.available": "10%", "nodefs.inodesFree": "5%"},
    "evictionMaxPodGracePeriod": 0,
    "evictionPressureTransitionPeriod": "5m0s",
    "failSwapOn": True,
    "hairpinMode": "hairpin-veth",
    "healthzBindAddress": "127.0.0.1",
    "healthzPort": 10248,
    "imageGCHighThresholdPercent": 85,
    "imageGCLowThresholdPercent": 80,
    "imageMaximumGCAge": "0s",
    "imageMinimumGCAge": "2m0s",
    "maxOpenFiles": 1000000,
    "maxParallelImagePulls": 1,
    "maxPods": 110,
    "nodeLeaseDurationSeconds": 40,
    "nodeStatusReportFrequency": "5m0s",
    "nodeStatusUpdateFrequency": "10s",
    "podPidsLimit": -1,
    "port": 10250,
    "readOnlyPort": 0,
    "registerNode": True,
    "resolvConf": "/etc/resolv.conf",
    "rotateCertificates": True,
    "runtimeRequestTimeout": "15m0s",
    "serializeImagePulls": False,
    "serverTLSBootstrap": True,
    "streamingConnectionIdleTimeout": "4h0m0s",
    "syncFrequency": "1m0s",
    "topologyManagerPolicy": "none",
    "volumeStatsAggPeriod": "1m0s",
}
"""Those that mean something here: Amazon Linux 2023's nodeadm and upstream's defaults."""


def kubelet_configuration(configuration: NodeConfiguration) -> dict[str, Any]:
    given = {
        "clusterDNS": [configuration.cluster_dns],
        "clusterDomain": configuration.cluster_domain,
        "maxPods": configuration.max_pods,
        "providerID": configuration.provider_id,
        "cgroupRoot": configuration.machine.cgroup,
        **configuration.kubelet,
    }
    kind = {"kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1"}
    return {**DEFAULTS, **given, **kind}
