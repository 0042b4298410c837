"""What the types cost on every write of the API server: `python -m benchmarks api_types`.

A pod and a deployment as users write them; microseconds for each step, JSON parsing left out except where it is said.
"""

from __future__ import annotations

import copy
import sys
import time
import timeit
from collections.abc import Callable
from typing import Any

import orjson

from twinplane.controlplane.api.types import openapi, tables
from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.controlplane.api.types.registry import built_in_types
from twinplane.controlplane.api.types.rules import UpstreamRules

REPEAT = 3000
LABELS = {"app": "web", "tier": "front"}
CONTAINER: dict[str, Any] = {
    "name": "web",
    "image": "nginx:1.27",
    "ports": [{"containerPort": 80, "name": "http"}],
    "env": [{"name": "MODE", "value": "fast"}],
    "resources": {"requests": {"cpu": "0.5", "memory": "512Mi"}, "limits": {"memory": "1024Mi"}},
    "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],
    "readinessProbe": {"httpGet": {"port": "http"}},
}
POD_SPEC: dict[str, Any] = {"containers": [CONTAINER], "volumes": [{"name": "scratch"}]}
METADATA = {"name": "web", "namespace": "default", "labels": LABELS, "uid": "1"}
POD = {"apiVersion": "v1", "kind": "Pod", "metadata": METADATA, "spec": POD_SPEC}
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": METADATA,
    "spec": {"selector": {"matchLabels": LABELS}, "template": {"metadata": {"labels": LABELS}, "spec": POD_SPEC}},
}


def main() -> None:
    started = time.perf_counter()
    registry = built_in_types("1.36")
    rules = UpstreamRules(registry)
    print(f"load the schemas and build the registry: {(time.perf_counter() - started) * 1000:.0f} ms")
    print(f"{'microseconds':24}{'pod':>10}{'deployment':>12}")
    pod, deployment = registry.lookup("", "v1", "pods"), registry.lookup("apps", "v1", "deployments")
    if pod is None or deployment is None:
        sys.exit("pods and deployments must be served")
    columns = [_measure(rules, pod, POD), _measure(rules, deployment, DEPLOYMENT)]
    for step in columns[0]:
        print(f"{step:24}{columns[0][step]:10.1f}{columns[1][step]:12.1f}")
    for name, build in (("v2", openapi.v2), ("v2 protobuf", openapi.v2_protobuf)):
        started = time.perf_counter()
        size = len(build(registry))
        print(f"OpenAPI {name}: {(time.perf_counter() - started) * 1000:.0f} ms, {size / 1e6:.1f} MB")


def _measure(rules: UpstreamRules, served: ResourceType, body: Any) -> dict[str, float]:
    raw = orjson.dumps(body)
    ready = orjson.loads(raw)
    _write(rules, served, ready)
    old = copy.deepcopy(ready)
    steps: dict[str, Callable[[], Any]] = {
        "parse and decode": lambda: rules.decode(served, orjson.loads(raw)),
        "unknown fields": lambda: rules.unknown_fields(served, ready),
        "default (again)": lambda: rules.default(served, ready),
        "validate create": lambda: rules.validate(served, ready, None),
        "validate update": lambda: rules.validate(served, ready, old),
        "field labels": lambda: rules.field_labels(served, ready),
        "table row": lambda: tables.table_row(served, ready, 0.0),
        "whole create": lambda: _write(rules, served, orjson.loads(raw)),
    }
    return {name: timeit.timeit(step, number=REPEAT) / REPEAT * 1e6 for name, step in steps.items()}


def _write(rules: UpstreamRules, served: ResourceType, body: Any) -> None:
    rules.unknown_fields(served, body)
    rules.decode(served, body)
    rules.prepare_create(served, body)
    rules.default(served, body)
    rules.validate(served, body, None)


if __name__ == "__main__":
    main()
