"""Which store a cluster gets, and that it keeps it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from twinplane.controlplane.configuration import ControlPlaneConfiguration
from twinplane.controlplane.store.etcd.configuration import EtcdConfiguration
from twinplane.region import stores
from twinplane.region.settings import BadSettings, Settings

ETCD = EtcdConfiguration(("https://127.0.0.1:2379",), "/twinplane", ca_file="ca.crt")
OIDC = "0123456789ABCDEF0123456789ABCDEF"


def configuration(**more: object) -> ControlPlaneConfiguration:
    names = ControlPlaneConfiguration.__dataclass_fields__
    fields: dict[str, object] = {name: "x" for name, field in names.items() if field.type == "str"}
    return ControlPlaneConfiguration(**{**fields, "port": 1, **more})  # type: ignore[arg-type]


def test_new_clusters_get_what_the_region_says(tmp_path: Path) -> None:
    assert stores.etcd_for(tmp_path, Settings(), "demo", OIDC) is None
    found = stores.etcd_for(tmp_path, Settings(etcd=ETCD), "demo", OIDC)
    assert found == replace(ETCD, prefix="/twinplane/demo-01234567")


def test_a_cluster_keeps_the_store_that_it_has(tmp_path: Path) -> None:
    (tmp_path / "controlplane.json").write_text(configuration().dump())
    assert stores.etcd_for(tmp_path, Settings(etcd=ETCD), "demo", OIDC) is None
    (tmp_path / "controlplane.json").write_text(configuration(etcd=ETCD).dump())
    assert stores.etcd_for(tmp_path, Settings(), "demo", OIDC) == ETCD


def test_settings_and_configuration_survive_their_files(tmp_path: Path) -> None:
    settings = Settings(etcd=ETCD, control_plane_replicas=3)
    settings.save(tmp_path / "region.json")
    assert Settings.load(tmp_path / "region.json") == settings
    written = configuration(etcd=ETCD, replicas=3, replica=1)
    (tmp_path / "controlplane.json").write_text(written.dump())
    assert ControlPlaneConfiguration.load(tmp_path / "controlplane.json") == written


def test_settings_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    (tmp_path / "region.json").write_text('{"region": "eu-west-1"}')
    assert Settings.load(tmp_path / "region.json") == Settings(region="eu-west-1")
    (tmp_path / "region.json").write_text('{"etcd": {"servers": [], "prefix": ""}}')
    with pytest.raises(BadSettings, match="at least one server"):
        Settings.load(tmp_path / "region.json")


def test_replicas_need_a_store_that_they_can_share() -> None:
    with pytest.raises(ValueError, match="etcd"):
        configuration(replicas=2)


async def test_a_cluster_in_the_data_directory_has_nothing_to_forget_elsewhere() -> None:
    await stores.forget(configuration())
