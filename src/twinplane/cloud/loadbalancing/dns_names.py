"""DNS names of load balancers as AWS makes them; moto's are of one shape for all kinds.

`give_aws_names` is for the adapter that loads moto: names are part of the answer to Create, so they have to be right
when moto makes the load balancer, not when somebody reads it.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from typing import Any

from twinplane.cloud.loadbalancing.contract import Kind


def dns_name(kind: Kind, name: str, region: str, scheme: str, seed: str) -> str:
    """`seed` tells apart load balancers that had the same name: the ARN, or the time of creation."""
    digest = hashlib.sha256(seed.encode()).hexdigest()
    if kind == "network":
        return f"{name}-{digest[:16]}.elb.{region}.amazonaws.com"
    # Classic and application ones carry a decimal number, and say when they are internal.
    prefix = "internal-" if scheme == "internal" else ""
    return f"{prefix}{name}-{int(digest[:8], 16) % 2_000_000_000}.{region}.elb.amazonaws.com"


def give_aws_names() -> None:
    """From now on moto names load balancers as AWS does. Idempotent; imports moto's ELB services."""
    from moto.elb.models import ELBBackend
    from moto.elbv2.models import ELBv2Backend

    for backend in (ELBBackend, ELBv2Backend):
        if not hasattr(backend.create_load_balancer, "__wrapped__"):
            backend.create_load_balancer = _renaming(backend.create_load_balancer)


def _renaming(create: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(create)
    def create_load_balancer(backend: Any, *arguments: Any, **named: Any) -> Any:
        made = create(backend, *arguments, **named)
        seed = getattr(made, "arn", "") or f"{made.name}{made.created_time}"
        # What has no type is a classic one.
        made.dns_name = dns_name(getattr(made, "type", "classic"), made.name, backend.region_name, made.scheme, seed)
        return made

    return create_load_balancer
