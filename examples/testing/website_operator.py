"""A small operator, written with kopf: a Website is a Deployment.

Run it against any cluster with `kopf run examples/testing/website_operator.py`; `test_website_operator` runs it against
a throwaway one.
"""

from __future__ import annotations

import os
from typing import Any

import kopf
import kubernetes

GROUP = "examples.twinplane.io"


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    # The official client reads the variable when it is imported, which may be too early: it is told again.
    kubernetes.config.load_kube_config(os.environ.get("KUBECONFIG"))
    # Kubernetes events are for users: they need not hear of every handler.
    settings.posting.level = 30


@kopf.on.login()
def login(**arguments: Any) -> kopf.ConnectionInfo | None:
    return kopf.login_with_kubeconfig(**arguments)


@kopf.on.create(GROUP, "v1", "websites")
@kopf.on.resume(GROUP, "v1", "websites")
def create(name: str, namespace: str | None, spec: kopf.Spec, **_: Any) -> dict[str, str]:
    body = deployment(name, spec)
    # The Deployment goes with its Website.
    kopf.adopt(body)
    try:
        kubernetes.client.AppsV1Api().create_namespaced_deployment(namespace, body)
    except kubernetes.client.ApiException as error:
        if error.status != 409:
            raise
    return {"deployment": name}


@kopf.on.update(GROUP, "v1", "websites", field="spec")
def update(name: str, namespace: str | None, spec: kopf.Spec, **_: Any) -> None:
    kubernetes.client.AppsV1Api().patch_namespaced_deployment(name, namespace, {"spec": deployment(name, spec)["spec"]})


def deployment(name: str, spec: Any) -> dict[str, Any]:
    """What a Website needs; pure, so that most of an operator's tests need no cluster at all."""
    labels = {"website": name}
    container = {"name": "web", "image": spec["image"], "ports": [{"containerPort": 80}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": spec.get("replicas", 2),
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
