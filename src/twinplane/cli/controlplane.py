"""stop, start controlplane: a cluster without its master, to see what nodes and load balancers do then."""

from __future__ import annotations

import argparse
import asyncio
import signal
import time

from twinplane.cli.command import Command, cluster_flag
from twinplane.cli.output import CommandError
from twinplane.cloud.eks.contract import ControlPlaneFailed
from twinplane.controlplane.configuration import ControlPlaneConfiguration
from twinplane.region.clusters import control_plane_process
from twinplane.region.data_directory import DataDirectory
from twinplane.region.launcher import running_daemon
from twinplane.region.processes import hold, release, terminate
from twinplane.region.readiness import wait_until_ready

STOP_SECONDS_MAX = 10.0


def _stop_arguments(parser: argparse.ArgumentParser) -> None:
    cluster_flag(parser)
    parser.add_argument("--kill", action="store_true", help="with SIGKILL, as a crash would")


def _stop(arguments: argparse.Namespace) -> None:
    directory, names = _replicas(arguments)
    running = [process for name in names if (process := hold(directory, name)) is not None]
    for process in running:
        terminate(process, signal.SIGKILL if arguments.kill else signal.SIGTERM)
    end = time.monotonic() + STOP_SECONDS_MAX
    while any(process.alive for process in running) and time.monotonic() < end:
        time.sleep(0.02)
    for process in running:
        terminate(process, signal.SIGKILL)
    print(f"The control plane of {arguments.cluster} is stopped until `twinplane start controlplane`.")


def _start(arguments: argparse.Namespace) -> None:
    directory, names = _replicas(arguments)
    for name in names:
        release(directory, name)
    if running_daemon(directory) is None:
        print(f"The control plane of {arguments.cluster} starts with the region: `twinplane up`.")
        return
    try:
        configuration = ControlPlaneConfiguration.load(directory.cluster(arguments.cluster) / "controlplane.json")
        asyncio.run(wait_until_ready(configuration, directory.log(control_plane_process(arguments.cluster))))
    except (OSError, ValueError, TypeError, ControlPlaneFailed) as error:
        raise CommandError(str(error)) from error
    print(f"The control plane of {arguments.cluster} is ready.")


def _replicas(arguments: argparse.Namespace) -> tuple[DataDirectory, list[str]]:
    directory = DataDirectory.locate(arguments.data_dir)
    found = directory.processes.glob(f"{control_plane_process(arguments.cluster)}*.json")
    names = sorted(path.stem for path in found)
    if not names:
        raise CommandError(f"no control plane of a cluster {arguments.cluster} runs in {directory.root}")
    return directory, names


STOP = Command("Keep a cluster's control plane away; its nodes go on", _stop_arguments, _stop)
START = Command("Let a stopped control plane run again", cluster_flag, _start)
