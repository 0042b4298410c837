"""up, down, status, env, logs, version: the region as a whole."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shlex
import shutil
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from twinplane.cli.command import Command, no_arguments, output_flag
from twinplane.cli.output import CommandError, print_document, print_table
from twinplane.cli.region_access import RegionAccess, region_access
from twinplane.cli.store import store_flags, store_settings
from twinplane.region import launcher
from twinplane.region.data_directory import DataDirectory
from twinplane.region.settings import BadSettings, Settings
from twinplane.sigv4 import Signer


def _up_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--region", help="AWS region name of a new region (default: us-west-2)")
    parser.add_argument("--port", type=int, help="port of the AWS endpoint (default: 4566)")
    parser.add_argument("--host", help="address to bind to (default: 127.0.0.1)")
    store_flags(parser)
    parser.add_argument("--foreground", action="store_true", help="stay in the foreground and log to the terminal")


def _up(arguments: argparse.Namespace) -> None:
    directory = DataDirectory.locate(arguments.data_dir)
    settings = _settings(directory, arguments)
    began = time.monotonic()
    try:
        if launcher.running_daemon(directory) is not None:
            if settings != Settings.load(directory.settings):
                raise CommandError(
                    "the region runs with other settings; `twinplane down` first, then `up` changes them"
                )
            answer = _wait_for_running(settings)
            print(f"The region {settings.region} already runs at {settings.endpoint_url}.")
        else:
            launcher.prepare(directory, settings)
            if arguments.foreground:
                os.execv(sys.executable, launcher.daemon_command(directory))
            answer = launcher.start_detached(directory, settings)
            seconds = time.monotonic() - began
            print(f"The region {settings.region} is up at {settings.endpoint_url} (after {seconds:.1f} s).")
    except launcher.CannotStart as error:
        raise CommandError(str(error)) from error
    clusters = answer.get("clusters", [])
    if clusters:
        print("Clusters: " + ", ".join(f"{cluster['name']} ({cluster['status']})" for cluster in clusters))
    print('Next: eval "$(twinplane env)" for aws and boto3; `twinplane create cluster` for a cluster.')


def _settings(directory: DataDirectory, arguments: argparse.Namespace) -> Settings:
    """What is stored, with the flags on top; a region's name cannot change once it has a life."""
    try:
        stored = Settings.load(directory.settings)
    except BadSettings as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"cannot read {directory.settings}: {error.strerror}") from error
    settings = stored or Settings()
    if stored is not None and arguments.region and arguments.region != stored.region:
        raise CommandError(
            f"the region in {directory.root} is {stored.region}; another region needs its own --data-dir"
        )
    flags = {name: value for name in ("region", "port", "host") if (value := getattr(arguments, name)) is not None}
    if not 0 < flags.get("port", 1) < 65536:
        raise CommandError(f"--port must be between 1 and 65535, got {flags['port']}")
    return replace(settings, **flags, **store_settings(arguments, settings))


def _wait_for_running(settings: Settings) -> dict[str, Any]:
    end = time.monotonic() + launcher.START_SECONDS_MAX
    while time.monotonic() < end:
        answer = launcher.health(settings)
        if answer is not None and answer.get("ready"):
            return answer
        time.sleep(0.05)
    raise CommandError("the daemon runs but does not answer; see `twinplane logs`")


def _down_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--purge", action="store_true", help="also delete the region's data")


def _down(arguments: argparse.Namespace) -> None:
    directory = DataDirectory.locate(arguments.data_dir)
    if not directory.root.exists():
        print(f"There is no region in {directory.root}.")
        return
    if arguments.purge and not _is_ours(directory):
        raise CommandError(f"{directory.root} does not look like the data of a region; nothing was deleted")
    stopped = launcher.stop(directory)
    print("The region is down." if stopped else "The region was not running.")
    if arguments.purge:
        shutil.rmtree(directory.root)
        print(f"Its data in {directory.root} is deleted.")


def _is_ours(directory: DataDirectory) -> bool:
    return directory.settings.exists() or not any(directory.root.iterdir())


def _status(arguments: argparse.Namespace) -> None:
    access = region_access(arguments.data_dir)
    answer = internal(access, "/_twinplane/status")
    if answer is None:
        raise CommandError(f"the region in {access.directory.root} is not running: start it with `twinplane up`")
    if arguments.output != "table":
        print_document(answer, arguments.output)
        return
    print(f"Region {answer['region']} at {access.settings.endpoint_url}, data in {access.directory.root}\n")
    rows = [(p["name"], p["pid"], p["state"], f"{p['memoryMiB']} MiB", p["age"]) for p in answer["processes"]]
    print_table(("PROCESS", "PID", "STATE", "MEMORY", "AGE"), rows)
    if answer["clusters"]:
        print()
        rows = [(c["name"], c["status"], c["version"], c["nodes"], c["endpoint"]) for c in answer["clusters"]]
        print_table(("CLUSTER", "STATUS", "VERSION", "INSTANCES", "ENDPOINT"), rows)


def internal(access: RegionAccess, path: str) -> dict[str, Any] | None:
    """What the daemon says under /_twinplane/; None when it does not run."""
    settings = access.settings
    signer = Signer(access.access_key_id, access.secret_access_key, access.session_token, settings.region, "eks")
    headers = signer.headers("GET", settings.endpoint_url + path, time.time())
    connection = http.client.HTTPConnection(settings.host, settings.port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise CommandError(f"the region refused: {answer.get('message', response.status)}")
    return answer


def _env(arguments: argparse.Namespace) -> None:
    access = region_access(arguments.data_dir)
    settings = access.settings
    variables = {
        "AWS_ENDPOINT_URL": settings.endpoint_url,
        "AWS_ACCESS_KEY_ID": settings.access_key_id,
        "AWS_SECRET_ACCESS_KEY": settings.secret_access_key,
        "AWS_REGION": settings.region,
        "AWS_DEFAULT_REGION": settings.region,
        "KUBECONFIG": str(access.directory.kubeconfig),
        "TWINPLANE_HOME": str(access.directory.root),
    }
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")
    # A token or profile of a real account would win over the keys above.
    print("unset AWS_SESSION_TOKEN AWS_PROFILE")


def _logs_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("process", nargs="?", help="one process, as `twinplane status` names it (default: all)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on printing what is added")
    parser.add_argument(
        "--tail", type=int, default=50, metavar="N", help="lines from the end of each log (default: 50)"
    )


def _logs(arguments: argparse.Namespace) -> None:
    directory = DataDirectory.locate(arguments.data_dir)
    files = directory.all_logs()
    if arguments.process:
        files = [path for path in files if path.stem == arguments.process]
        if not files:
            raise CommandError(f'no log of a process "{arguments.process}" in {directory.logs}')
    offsets = {path: _print_tail(path, arguments.tail) for path in files}
    while arguments.follow:
        time.sleep(0.25)
        for path, offset in offsets.items():
            offsets[path] = _print_from(path, offset)


def _print_tail(path: Path, count: int) -> int:
    content = path.read_bytes()
    lines = content.decode(errors="replace").splitlines()
    for line in lines[max(0, len(lines) - count) :]:
        print(f"{path.stem}: {line}")
    return len(content)


def _print_from(path: Path, offset: int) -> int:
    with path.open("rb") as file:
        file.seek(offset)
        content = file.read()
    for line in content.decode(errors="replace").splitlines():
        print(f"{path.stem}: {line}", flush=True)
    return offset + len(content)


def _version(arguments: argparse.Namespace) -> None:
    del arguments
    print(version("twinplane"))


UP = Command("Start the region, or find it running", _up_arguments, _up)
DOWN = Command("Stop the region; its data stays unless --purge", _down_arguments, _down)
STATUS = Command("Show the processes and clusters of the region", output_flag, _status)
ENV = Command("Print the environment for aws, boto3 and kubectl", no_arguments, _env)
LOGS = Command("Show the logs of the region's processes", _logs_arguments, _logs)
VERSION = Command("Print the version", no_arguments, _version)
