"""Claims, classes and slices of devices for scheduler tests."""

from __future__ import annotations

from typing import Any

from twinplane.kubeclient.contract import Object

DRIVER = "gpu.example.com"


def device_class(name: str = "gpu", *expressions: str, **spec: Any) -> Object:
    selectors = [{"cel": {"expression": text}} for text in (expressions or (f'device.driver == "{DRIVER}"',))]
    return {"metadata": {"name": name}, "spec": {"selectors": selectors, **spec}}


def device(name: str, memory: str = "40Gi", *, model: str = "a100", **fields: Any) -> dict[str, Any]:
    attributes = {"model": {"string": model}, "version": {"version": "1.2.3"}}
    return {"name": name, "attributes": attributes, "capacity": {"memory": {"value": memory}}, **fields}


def device_slice(
    name: str,
    *devices: dict[str, Any],
    node: str = "",
    pool: str = "",
    generation: int = 1,
    count: int = 1,
    **spec: Any,
) -> Object:
    where: dict[str, Any] = {"nodeName": node} if node else {}
    described = {"name": pool or node or name, "generation": generation, "resourceSliceCount": count}
    return {
        "metadata": {"name": name},
        "spec": {"driver": DRIVER, "pool": described, **where, "devices": list(devices), **spec},
    }


def request(name: str = "gpu", *expressions: str, device_class: str = "gpu", **exactly: Any) -> dict[str, Any]:
    selectors = [{"cel": {"expression": text}} for text in expressions]
    return {"name": name, "exactly": {"deviceClassName": device_class, "selectors": selectors, **exactly}}


def device_claim(name: str, *requests: dict[str, Any], owner: str = "", **devices: Any) -> Object:
    metadata: dict[str, Any] = {"name": name, "namespace": "default", "uid": f"uid-{name}"}
    if owner:
        metadata["ownerReferences"] = [{"kind": "Pod", "name": "p", "uid": owner, "controller": True}]
    return {"metadata": metadata, "spec": {"devices": {"requests": list(requests or (request(),)), **devices}}}


def uses(*claims: str) -> dict[str, Any]:
    return {"resourceClaims": [{"name": name, "resourceClaimName": name} for name in claims]}
