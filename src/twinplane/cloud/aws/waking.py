"""Importing moto lean: what one region never needs is not loaded. Called once, in the worker thread.

Measured on moto 5.2 (Python 3.11): importing EC2 costs 100 MB and 1.1 s as it is, for three reasons that have nothing
to do with the state of an account, so each is cut here, from outside:
- the instance-type offerings of all 34 regions (30 MB; one region is 3 MB);
- three boto3 sessions of which each parses botocore's endpoints again (40 MB; one shared loader keeps one copy);
- 1,225 ECS-optimised images, each an object with a snapshot and tags (15 MB; this cloud boots EKS nodes).
In their place the catalogue gets the EKS-optimised images, which moto lacks.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import botocore.loaders
import botocore.session
import orjson

from twinplane.cloud.eks.versions import node_images

_AMI_OWNER = "602401143452"


@functools.cache
def shared_loader() -> botocore.loaders.Loader:
    """One botocore data loader for moto and for our own clients: it keeps what it parsed."""
    loader: botocore.loaders.Loader = botocore.session.Session().get_component("data_loader")
    return loader


def new_botocore_session() -> botocore.session.Session:
    session = botocore.session.Session()
    session.register_component("data_loader", shared_loader())
    return session


def wake(region: str, account_id: str) -> None:
    """Import the parts of moto that every cluster uses. Takes about a second; safe to call again."""
    # moto reads these once, when it is imported.
    os.environ["MOTO_ACCOUNT_ID"] = account_id
    os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "true"
    os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"
    with _lean(region):
        import moto.autoscaling.models
        import moto.ec2.models
        import moto.elb.models
        import moto.elbv2.models
        import moto.iam.models
        import moto.moto_server.werkzeug_app
        import moto.sts.models  # noqa: F401


def settle() -> None:
    """Give back what waking left behind: garbage first, then free pages of the C heap."""
    gc.collect()
    # What is loaded now stays; later collections need not walk it.
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@contextmanager
def _lean(region: str) -> Iterator[None]:
    import boto3
    import moto.core.base_backend
    import moto.core.utils
    import moto.utilities.utils

    load_resource, session = moto.utilities.utils.load_resource, boto3.Session
    moto.utilities.utils.load_resource = functools.partial(_load_resource, load_resource, region)
    one_session = functools.partial(boto3.Session, botocore_session=new_botocore_session())
    boto3.Session = one_session
    # These two stay: moto keeps calling them for as long as it lives.
    moto.core.base_backend.Session = one_session
    moto.core.utils.create_loader = shared_loader
    try:
        yield
    finally:
        boto3.Session = session
        # `load_resource` stays replaced in `moto.ec2`, which took it by name: images are read when a backend is made.
        moto.utilities.utils.load_resource = load_resource


def _load_resource(load: Any, region: str, path: str) -> Any:
    """moto's data files, less those of other regions and of ECS, plus the node images of EKS."""
    name = os.path.basename(path).split(".")[0]
    if "ecs/optimized_amis" in path:
        return []
    if "instance_type_offerings" in path:
        return [_interned(offering) for offering in load(path)] if name == region else []
    if "latest_amis" in path:
        return [*load(path), *_eks_images(region)] if name == region else []
    if path.endswith("instance_types.json"):
        return _Sharing().value(load(path))
    return load(path)


def _interned(record: dict[str, str]) -> dict[str, str]:
    return {sys.intern(key): sys.intern(value) for key, value in record.items()}


class _Sharing:
    """Equal parts of a document as one object: instance types differ in little (9 MB become 2)."""

    def __init__(self) -> None:
        self._pool: dict[bytes, Any] = {}

    def value(self, document: dict[str, Any]) -> dict[str, Any]:
        # The outermost two levels stay their owner's: moto copies them and may write to the copy.
        return {
            sys.intern(name): {sys.intern(key): self._shared(item) for key, item in facts.items()}
            for name, facts in document.items()
        }

    def _shared(self, value: Any) -> Any:
        if isinstance(value, str):
            return sys.intern(value)
        if isinstance(value, dict):
            value = {sys.intern(key): self._shared(item) for key, item in value.items()}
        elif isinstance(value, list):
            value = [self._shared(item) for item in value]
        else:
            return value
        return self._pool.setdefault(orjson.dumps(value), value)


def _eks_images(region: str) -> list[dict[str, Any]]:
    return [
        {
            "ami_id": image.image_id,
            "name": image.name,
            "description": image.description,
            "architecture": image.architecture,
            "hypervisor": "xen",
            "image_type": "machine",
            "owner_id": _AMI_OWNER,
            "platform": None,
            "public": True,
            "root_device_name": "/dev/xvda",
            "root_device_type": "ebs",
            "sriov": "simple",
            "state": "available",
            "tags": {},
            "virtualization_type": "hvm",
        }
        for image in node_images(region)
    ]
