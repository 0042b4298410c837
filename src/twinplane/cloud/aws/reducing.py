"""How moto's objects are written to a snapshot: the few that cannot be pickled, and those better made again.

What moto can make again is left out (the public image catalogue, AWS-managed policies that nobody uses, availability
zones) and filled in when the object is read back.
"""

from __future__ import annotations

import copy
import functools
import threading
import weakref
from collections import defaultdict
from collections.abc import Callable
from typing import Any

_Reduced = tuple[Any, ...]


def reducers() -> dict[type, Callable[[Any], _Reduced]]:
    """How the objects with a reloadable part are written; only classes whose module is loaded already."""
    from moto.ec2.models import EC2Backend
    from moto.ec2.models.availability_zones_and_regions import Zone
    from moto.iam.models import AWSManagedPolicy, IAMBackend

    return {
        type(threading.Lock()): lambda _: (threading.Lock, ()),
        type(threading.RLock()): lambda _: (threading.RLock, ()),
        weakref.WeakValueDictionary: lambda held: (weakref.WeakValueDictionary, (dict(held),)),
        defaultdict: _reduce_defaultdict,
        EC2Backend: _reduce_ec2,
        IAMBackend: _reduce_iam,
        Zone: lambda zone: (_zone, (zone.region_name, zone.name)),
        AWSManagedPolicy: _reduce_managed_policy,
    }


def _reduce_defaultdict(held: defaultdict[Any, Any]) -> _Reduced:
    """A factory that is a lambda has no name to be found by: a copy of what it makes stands in for it."""
    factory = held.default_factory
    if factory is not None and "<" in getattr(factory, "__qualname__", ""):
        factory = functools.partial(copy.deepcopy, factory())
    return defaultdict, (factory,), None, None, iter(held.items())


def _reduce_ec2(backend: Any) -> _Reduced:
    catalogue = {ami.id for ami in backend.amis.values() if ami.owner_alias == "amazon"}
    state = dict(backend.__dict__)
    state["amis"] = {key: ami for key, ami in backend.amis.items() if key not in catalogue}
    state["snapshots"] = {
        key: snapshot for key, snapshot in backend.snapshots.items() if snapshot.from_ami not in catalogue
    }
    return _new, (type(backend),), state, None, None, _restore_ec2


def _restore_ec2(backend: Any, state: dict[str, Any]) -> None:
    backend.__dict__.update(state)
    own, backend.amis = backend.amis, {}
    backend._load_amis()
    for deleted in backend.deleted_amis:
        backend.amis.pop(deleted, None)
    backend.amis.update(own)


def _reduce_iam(backend: Any) -> _Reduced:
    state = dict(backend.__dict__)
    # The list is rebuilt from the dictionary, which holds the same objects among the customer's own.
    del state["aws_managed_policies"]
    aws = {policy.arn for policy in backend.aws_managed_policies}
    attached = {arn: policy for arn, policy in backend.managed_policies.items() if arn in aws and _was_used(policy)}
    own = {arn: policy for arn, policy in backend.managed_policies.items() if arn not in aws}
    state["managed_policies"] = own | attached
    return _new, (type(backend),), state, None, None, _restore_iam


def _restore_iam(backend: Any, state: dict[str, Any]) -> None:
    backend.__dict__.update(state)
    kept = backend.managed_policies
    backend.aws_managed_policies = [kept.get(policy.arn, policy) for policy in backend._init_aws_policies()]
    backend.managed_policies = {policy.arn: policy for policy in backend.aws_managed_policies} | kept


def _was_used(policy: Any) -> bool:
    return bool(policy.attachment_count)


def _reduce_managed_policy(policy: Any) -> _Reduced:
    return _new, (type(policy),), dict(policy.__dict__)


def _new(cls: type) -> Any:
    return object.__new__(cls)


def _zone(region: str, name: str) -> Any:
    from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend

    return next(zone for zone in RegionsAndZonesBackend.zones[region] if zone.name == name)
