"""Which store a cluster's control plane uses: chosen when the cluster is made, changed only by migration."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from twinplane.controlplane.configuration import ControlPlaneConfiguration
from twinplane.controlplane.store.contract import StoreError
from twinplane.controlplane.store.etcd.configuration import EtcdConfiguration
from twinplane.region.settings import Settings

log = logging.getLogger(__name__)


def configured(folder: Path) -> ControlPlaneConfiguration | None:
    """What the control plane of the cluster in `folder` was last told; None for a new one."""
    path = folder / "controlplane.json"
    return ControlPlaneConfiguration.load(path) if path.exists() else None


def etcd_for(folder: Path, settings: Settings, name: str, oidc_id: str) -> EtcdConfiguration | None:
    """The store that the cluster has, else what the region gives new ones; None is the embedded one."""
    known = configured(folder)
    if known is not None:
        return known.etcd
    return None if settings.etcd is None else under_prefix(settings.etcd, name, oidc_id)


def under_prefix(etcd: EtcdConfiguration, name: str, oidc_id: str) -> EtcdConfiguration:
    """The region's etcd with a prefix that no other cluster ever has, not even a later one of the same name."""
    return replace(etcd, prefix=f"{etcd.prefix}/{name}-{oidc_id[:8].lower()}")


async def forget(configuration: ControlPlaneConfiguration) -> None:
    """Delete what a cluster has in etcd. If etcd does not answer the keys stay: their prefix is never used again."""
    if configuration.etcd is None:
        return
    from twinplane.controlplane.store.etcd.maintenance import purge

    try:
        await purge(configuration.etcd)
    except (StoreError, OSError) as error:
        log.warning("cluster %s has left its keys in etcd: %s", configuration.cluster, error)
