"""Small valid objects of the main kinds, as a user would write them."""

from __future__ import annotations

from typing import Any

from twinplane.kubeclient.contract import Object

LABELS = {"app": "web"}
TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": LABELS},
    "spec": {"containers": [{"name": "web", "image": "nginx:1.27"}]},
}
_ONCE = {"spec": {"restartPolicy": "Never", "containers": [{"name": "work", "image": "busybox"}]}}
_CLIENT = {"service": {"namespace": "default", "name": "hook"}}
_RULE = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}
_WEBHOOK = {
    "name": "check.example.com",
    "admissionReviewVersions": ["v1"],
    "sideEffects": "None",
    "clientConfig": _CLIENT,
    "rules": [_RULE],
}


def make(api_version: str, kind: str, name: str = "web", **fields: Any) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **fields}


def owner(kind: str, **spec: Any) -> Object:
    return make("apps/v1", kind, spec={"selector": {"matchLabels": LABELS}, "template": TEMPLATE, **spec})


POD = make("v1", "Pod", spec=TEMPLATE["spec"])
SERVICE = make("v1", "Service", spec={"selector": LABELS, "ports": [{"port": 80}]})
DEPLOYMENT = owner("Deployment")
STATEFUL_SET = owner("StatefulSet", serviceName="web")
JOB = make("batch/v1", "Job", spec={"template": _ONCE})
CLAIM_SPEC = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
CLAIM = make("v1", "PersistentVolumeClaim", spec=CLAIM_SPEC)
INGRESS_PATH = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}
INGRESS = make(
    "networking.k8s.io/v1",
    "Ingress",
    spec={"ingressClassName": "alb", "rules": [{"host": "shop.example.com", "http": {"paths": [INGRESS_PATH]}}]},
)
CRONJOB = make("batch/v1", "CronJob", spec={"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": _ONCE}}})
AUTOSCALER = make(
    "autoscaling/v2",
    "HorizontalPodAutoscaler",
    spec={"maxReplicas": 5, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
)
DEFINITION = make(
    "apiextensions.k8s.io/v1",
    "CustomResourceDefinition",
    "widgets.example.com",
    spec={
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
        ],
    },
)
_RBAC = "rbac.authorization.k8s.io/v1"
_READ = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
_ACCOUNT = {"kind": "ServiceAccount", "name": "web", "namespace": "default"}
ROLE_BINDING = make(_RBAC, "RoleBinding", roleRef={"kind": "Role", "name": "reader"}, subjects=[_ACCOUNT])

VALID: list[Object] = [
    POD,
    SERVICE,
    DEPLOYMENT,
    STATEFUL_SET,
    JOB,
    CLAIM,
    INGRESS,
    CRONJOB,
    AUTOSCALER,
    DEFINITION,
    ROLE_BINDING,
    owner("ReplicaSet"),
    owner("DaemonSet"),
    make("v1", "Namespace"),
    make("v1", "Node", "ip-10-0-1-2.us-west-2.compute.internal"),
    make("v1", "ServiceAccount"),
    make("v1", "ConfigMap", data={"key": "value"}),
    make("v1", "Secret", data={"key": "dmFsdWU="}),
    make("v1", "Endpoints", subsets=[{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]),
    make("v1", "LimitRange", spec={"limits": [{"type": "Container", "default": {"cpu": "1"}}]}),
    make("v1", "ResourceQuota", spec={"hard": {"pods": "10", "requests.cpu": "4", "count/jobs.batch": "5"}}),
    make("v1", "ReplicationController", spec={"template": TEMPLATE}),
    make("v1", "PodTemplate", template=TEMPLATE),
    make("v1", "Event", involvedObject={"kind": "Pod", "namespace": "default", "name": "web"}, reason="Started"),
    make(
        "v1",
        "PersistentVolume",
        spec={"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/data"}},
    ),
    make("apps/v1", "ControllerRevision", revision=1, data={"any": "thing"}),
    make(
        "autoscaling/v1",
        "HorizontalPodAutoscaler",
        spec={"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "web"}},
    ),
    make("policy/v1", "PodDisruptionBudget", spec={"minAvailable": "50%", "selector": {"matchLabels": LABELS}}),
    make("networking.k8s.io/v1", "IngressClass", spec={"controller": "ingress.k8s.aws/alb"}),
    make("networking.k8s.io/v1", "NetworkPolicy", spec={"podSelector": {}}),
    make("networking.k8s.io/v1", "IPAddress", "10.0.0.1", spec={"parentRef": {"resource": "services", "name": "a"}}),
    make("networking.k8s.io/v1", "ServiceCIDR", spec={"cidrs": ["10.100.0.0/16"]}),
    make("discovery.k8s.io/v1", "EndpointSlice", addressType="IPv4", endpoints=[{"addresses": ["10.0.0.1"]}]),
    make(_RBAC, "Role", rules=[_READ]),
    make(_RBAC, "ClusterRole", "system:reader", rules=[_READ, {"nonResourceURLs": ["/healthz"], "verbs": ["get"]}]),
    make(_RBAC, "ClusterRoleBinding", roleRef={"kind": "ClusterRole", "name": "a"}, subjects=[_ACCOUNT]),
    make("storage.k8s.io/v1", "StorageClass", provisioner="ebs.csi.aws.com", parameters={"type": "gp3"}),
    make("storage.k8s.io/v1", "CSIDriver", "ebs.csi.aws.com", spec={"attachRequired": True}),
    make("storage.k8s.io/v1", "CSINode", spec={"drivers": []}),
    make("storage.k8s.io/v1", "VolumeAttachment", spec={"attacher": "a", "nodeName": "n", "source": {}}),
    make("coordination.k8s.io/v1", "Lease", spec={"holderIdentity": "me", "leaseDurationSeconds": 15}),
    make("scheduling.k8s.io/v1", "PriorityClass", "high", value=1000),
    make("node.k8s.io/v1", "RuntimeClass", handler="runc"),
    make("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", webhooks=[_WEBHOOK]),
    make("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", webhooks=[_WEBHOOK]),
    make(
        "apiregistration.k8s.io/v1",
        "APIService",
        "v1beta1.metrics.k8s.io",
        spec={
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "service": {"name": "metrics-server", "namespace": "kube-system"},
        },
    ),
    make(
        "certificates.k8s.io/v1",
        "CertificateSigningRequest",
        spec={"request": "YQ==", "signerName": "kubernetes.io/kubelet-serving", "usages": ["server auth"]},
    ),
    make("authentication.k8s.io/v1", "TokenReview", spec={"token": "abc"}),
    make(
        "authorization.k8s.io/v1",
        "SelfSubjectAccessReview",
        spec={"resourceAttributes": {"verb": "get", "resource": "pods"}},
    ),
]
