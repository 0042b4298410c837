"""Objects that tests of throwaway clusters create."""

from __future__ import annotations

from typing import Any

from twinplane.kubeclient.contract import Object


def pod_template(**spec: Any) -> Object:
    return {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "main", "image": "nginx"}], **spec},
    }


def deployment(replicas: int = 2, name: str = "web") -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": pod_template(),
        },
    }


def job(name: str = "once", *, exit_code: int = 0, **spec: Any) -> Object:
    template = pod_template(restartPolicy="Never")
    if exit_code:
        template["metadata"]["annotations"] = {"simulation.twinplane.io/exit-code": str(exit_code)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"template": template, **spec},
    }


def config_map(name: str, **data: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default"},
        "data": data,
    }
