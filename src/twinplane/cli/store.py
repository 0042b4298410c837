"""store migrate, and the flags by which `up` is told where clusters keep their objects."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from twinplane.cli.command import Command, cluster_flag
from twinplane.cli.output import CommandError
from twinplane.cli.region_access import region_access
from twinplane.controlplane.configuration import ControlPlaneConfiguration
from twinplane.controlplane.store.contract import StoreError
from twinplane.controlplane.store.etcd.configuration import BadEtcdConfiguration, EtcdConfiguration
from twinplane.region import launcher, stores
from twinplane.region.data_directory import DataDirectory, write_atomically
from twinplane.region.settings import Settings

DEFAULT_PREFIX = "/twinplane"
_FILES = {
    "etcd_cafile": "ca_file",
    "etcd_certfile": "certificate_file",
    "etcd_keyfile": "key_file",
    "etcd_password_file": "password_file",
}
"""Flag -> field, for those that are paths."""


def etcd_flags(parser: argparse.ArgumentParser) -> None:
    """Named as kube-apiserver's."""
    parser.add_argument("--etcd-servers", metavar="URL,...", help="etcd servers, e.g. https://127.0.0.1:2379")
    parser.add_argument("--etcd-cafile", metavar="FILE", help="certificate authority of the etcd servers")
    parser.add_argument("--etcd-certfile", metavar="FILE", help="client certificate for etcd")
    parser.add_argument("--etcd-keyfile", metavar="FILE", help="key of the client certificate")
    parser.add_argument("--etcd-user", metavar="NAME", help="etcd user, where etcd has authentication")
    parser.add_argument("--etcd-password-file", metavar="FILE", help="file with that user's password")
    parser.add_argument("--etcd-prefix", metavar="PATH", help=f"prefix of all keys (default: {DEFAULT_PREFIX})")


def store_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", choices=("embedded", "etcd"), help="where new clusters keep their objects")
    etcd_flags(parser)
    parser.add_argument(
        "--control-plane-replicas", type=int, metavar="N", help="API server processes of each cluster in etcd"
    )


def store_settings(arguments: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """What `store_flags` change of the settings. Raises `CommandError`."""
    changed: dict[str, Any] = {}
    etcd = etcd_configuration(arguments)
    if arguments.store == "embedded":
        if etcd is not None:
            raise CommandError("--etcd-servers needs --store etcd")
        changed["etcd"] = None
    elif arguments.store == "etcd":
        if etcd is None and settings.etcd is None:
            raise CommandError("--store etcd needs --etcd-servers")
        changed["etcd"] = etcd or settings.etcd
    elif etcd is not None:
        raise CommandError("--etcd-servers needs --store etcd")
    replicas = arguments.control_plane_replicas
    if replicas is not None:
        if not 0 < replicas < 10:
            raise CommandError(f"--control-plane-replicas must be between 1 and 9, got {replicas}")
        if replicas > 1 and changed.get("etcd", settings.etcd) is None:
            raise CommandError("--control-plane-replicas needs --store etcd: the embedded store has one process")
        changed["control_plane_replicas"] = replicas
    return changed


def etcd_configuration(arguments: argparse.Namespace) -> EtcdConfiguration | None:
    """None without --etcd-servers. Raises `CommandError`."""
    given = vars(arguments)
    if not arguments.etcd_servers:
        lonely = [name for name in given if name.startswith("etcd_") and given[name]]
        if lonely:
            raise CommandError(f"--{lonely[0].replace('_', '-')} needs --etcd-servers")
        return None
    files = {field: _absolute(given[flag]) for flag, field in _FILES.items() if given[flag]}
    servers = tuple(url.strip() for url in arguments.etcd_servers.split(",") if url.strip())
    try:
        return EtcdConfiguration(
            servers=servers, prefix=arguments.etcd_prefix or DEFAULT_PREFIX, user=arguments.etcd_user or "", **files
        )
    except BadEtcdConfiguration as error:
        raise CommandError(str(error)) from error


def _absolute(path: str) -> str:
    if not os.access(path, os.R_OK):
        raise CommandError(f"cannot read {path}")
    return str(Path(path).absolute())


def _migrate_arguments(parser: argparse.ArgumentParser) -> None:
    cluster_flag(parser)
    parser.add_argument("--to", choices=("embedded", "etcd"), required=True, help="the store to move to")
    etcd_flags(parser)


def _migrate(arguments: argparse.Namespace) -> None:
    access = region_access(arguments.data_dir)
    folder = access.directory.cluster(arguments.cluster)
    try:
        with launcher.daemon_lock(access.directory):
            configuration = _stopped_cluster(access.directory, folder, arguments.cluster)
            _move(arguments, access.settings, folder, configuration)
    except launcher.CannotStart as error:
        raise CommandError(f"the region runs; stop it first with `twinplane down` ({error})") from error
    except (StoreError, OSError) as error:
        raise CommandError(f'cluster "{arguments.cluster}" stays where it is: {error}') from error


def _stopped_cluster(directory: DataDirectory, folder: Path, name: str) -> ControlPlaneConfiguration:
    from twinplane.region.clusters import control_plane_process
    from twinplane.region.processes import RunningProcess

    configuration = stores.configured(folder)
    if configuration is None:
        raise CommandError(f"No cluster found for name: {name}.")
    for path in directory.processes.glob(f"{control_plane_process(name)}*.json"):
        if RunningProcess.read(path) is not None:
            raise CommandError(f'the control plane of "{name}" runs ({path.stem}); stop it first with `twinplane down`')
    return configuration


def _move(
    arguments: argparse.Namespace, settings: Settings, folder: Path, configuration: ControlPlaneConfiguration
) -> None:
    if (configuration.etcd is not None) == (arguments.to == "etcd"):
        print(f'The objects of cluster "{configuration.cluster}" are in the {arguments.to} store already.')
        return
    if arguments.to == "etcd":
        _move_to_etcd(arguments, settings, folder, configuration)
    else:
        _move_to_embedded(folder, configuration)


def _move_to_etcd(
    arguments: argparse.Namespace, settings: Settings, folder: Path, configuration: ControlPlaneConfiguration
) -> None:
    from twinplane.controlplane import migration

    etcd = etcd_configuration(arguments) or settings.etcd
    if etcd is None:
        raise CommandError("--to etcd needs --etcd-servers")
    etcd = stores.under_prefix(etcd, configuration.cluster, configuration.issuer.rsplit("/", 1)[-1])
    source = Path(configuration.store)
    moved = asyncio.run(migration.to_etcd(source, etcd, _show))
    _commit(folder, replace(configuration, etcd=etcd))
    os.replace(source, source.with_name(source.name + ".moved"))
    _done(configuration.cluster, moved.records, f"etcd under {etcd.prefix}", f"{source}.moved keeps the old store")


def _move_to_embedded(folder: Path, configuration: ControlPlaneConfiguration) -> None:
    from twinplane.controlplane import migration

    assert configuration.etcd is not None
    target = Path(configuration.store)
    moved = asyncio.run(migration.to_embedded(configuration.etcd, target, _show))
    _commit(folder, replace(configuration, etcd=None, replicas=1))
    asyncio.run(stores.forget(configuration))
    _done(configuration.cluster, moved.records, str(target), "its keys in etcd are deleted")


def _commit(folder: Path, configuration: ControlPlaneConfiguration) -> None:
    """From here on the cluster is in the other store."""
    write_atomically(folder / "controlplane.json", configuration.dump())


def _show(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {total} objects", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _done(cluster: str, records: int, where: str, rest: str) -> None:
    print(f'The {records} objects of cluster "{cluster}" are in {where}; {rest}.')
    print("Next: `twinplane up`. Watches begin anew: clients get 410 once and list again.")


MIGRATE = Command("Move a stopped cluster's objects between the embedded store and etcd", _migrate_arguments, _migrate)
