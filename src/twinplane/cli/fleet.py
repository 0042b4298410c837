"""fleet apply, delete, get, inject: simulated nodes by the thousand, and what goes wrong with them.

The fleet is a ConfigMap in the cluster; its simulation process does the rest, now or when it is back.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any
from urllib.parse import quote

from twinplane.cli.cluster import account_of
from twinplane.cli.command import Command, cluster_flag, output_flag
from twinplane.cli.eksctl.account import Account
from twinplane.cli.eksctl.nodes import Api, api_of
from twinplane.cli.output import CommandError, Progress, print_document, print_table
from twinplane.cli.region_access import region_access
from twinplane.dataplane.simulation.document import InvalidFleet, duration, each, share
from twinplane.dataplane.simulation.fleet.failures import (
    KINDS,
    STATUSES,
    Failure,
    check_failure,
    read_stored,
    stored,
)
from twinplane.dataplane.simulation.fleet.spec import (
    CONFIG_MAP_PREFIX,
    FAILURES_KEY,
    FILE_KEY,
    LABEL,
    NAMESPACE,
    FleetSpec,
    check_covers,
    read_fleet,
)

CONFIG_MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
BYTES_MAX = 1_000_000
"""A ConfigMap holds one MiB."""
POLL_SECONDS = 0.5
WAIT_SECONDS_MAX = 600.0


def _apply_arguments(parser: argparse.ArgumentParser) -> None:
    cluster_flag(parser)
    parser.add_argument("-f", "--filename", required=True, metavar="FILE", help="the fleet file; - for standard input")
    parser.add_argument("--wait", action="store_true", help="until every node of the fleet is Ready")


def _apply(arguments: argparse.Namespace) -> None:
    content = _with_files(_read(arguments.filename), arguments.filename)
    spec = _checked(content)
    now = time.time()
    failures = [stored(failure.at(now)) for failure in spec.failures]
    access = region_access(arguments.data_dir)
    account = account_of(access)
    described = _described(account, arguments.cluster)
    api = api_of(access, described)
    _check_instance_types(account, spec)
    _check_range(account, described, spec)
    _check_others(api, spec)
    name = CONFIG_MAP_PREFIX + spec.name
    known = api.find(f"{CONFIG_MAPS}/{name}")
    if known is not None:
        # What was injected goes on: it is not the file's to end.
        failures += [stored(failure) for failure in _injected(known, now)]
    data = {FILE_KEY: json.dumps(content), FAILURES_KEY: json.dumps(failures)}
    if sum(map(len, data.values())) > BYTES_MAX:
        raise CommandError("the fleet file and its traces are more than a ConfigMap holds (1 MB)")
    metadata = {"name": name, "namespace": NAMESPACE, "labels": {LABEL: spec.name}}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    if known is None:
        api.send("POST", CONFIG_MAPS, body)
    else:
        metadata["resourceVersion"] = known["metadata"]["resourceVersion"]
        api.send("PUT", f"{CONFIG_MAPS}/{name}", body)
    progress = Progress()
    verb = "created" if known is None else "updated"
    progress.done(f'fleet "{spec.name}" {verb}: {_size(spec)}')
    if arguments.wait:
        _wait(api, spec, progress)


def _size(spec: FleetSpec) -> str:
    selecting = sum(group.node_selector is not None for group in spec.groups)
    others = f", {selecting} group(s) of other nodes" if selecting else ""
    return f"{spec.nodes} node(s) in {len(spec.groups) - selecting} group(s){others}"


def _check_instance_types(account: Account, spec: FleetSpec) -> None:
    """Nodes of a type that EC2 does not have would never register."""
    from botocore.exceptions import ClientError

    for index, group in enumerate(spec.groups):
        if group.node_selector is not None:
            continue
        try:
            account.ec2.describe_instance_types(InstanceTypes=[group.instance_type])
        except ClientError as error:
            raise CommandError(f"spec.groups[{index}].instanceType: {error.response['Error']['Message']}") from error


def _check_range(account: Account, described: dict[str, Any], spec: FleetSpec) -> None:
    """Addresses that the VPC or Services have, too, would lead to either."""
    vpc = account.ec2.describe_vpcs(VpcIds=[described["resourcesVpcConfig"]["vpcId"]])["Vpcs"][0]
    ranges = [("the VPC", entry["CidrBlock"]) for entry in vpc["CidrBlockAssociationSet"]]
    services = described["kubernetesNetworkConfig"].get("serviceIpv4Cidr")
    for what, cidr in [*ranges, *([("Services", services)] if services else [])]:
        if spec.cidr is not None and spec.cidr.overlaps(IPv4Network(cidr)):
            raise CommandError(f"spec.cidr: {spec.cidr} overlaps {cidr} of {what}")


def _check_others(api: Api, spec: FleetSpec) -> None:
    for body in api.get(f"{CONFIG_MAPS}?labelSelector={LABEL}")["items"]:
        try:
            other = _spec_of(body)
        except CommandError:
            continue
        if other.name != spec.name and other.overlaps(spec):
            raise CommandError(f"spec.cidr: {spec.cidr} overlaps {other.cidr} of fleet {other.name}")


def _wait(api: Api, spec: FleetSpec, progress: Progress) -> None:
    end = time.monotonic() + WAIT_SECONDS_MAX
    while (ready := sum(_nodes(api, f"{LABEL}={spec.name}").values())) < spec.nodes:
        if time.monotonic() > end:
            raise CommandError(f"timed out (after {WAIT_SECONDS_MAX:.0f} s): {ready} of {spec.nodes} nodes are ready")
        time.sleep(POLL_SECONDS)
    progress.done(f'fleet "{spec.name}" has {spec.nodes} node(s), all ready')


def _selected(labels: dict[str, str]) -> str:
    """Those that are no fleet's own."""
    return ",".join([f"!{LABEL}", *(f"{key}={value}" for key, value in labels.items())])


def _nodes(api: Api, selector: str) -> dict[str, bool]:
    """Name -> whether it is ready."""
    selector = quote(selector, safe="")
    nodes = api.get(f"/api/v1/nodes?labelSelector={selector}")["items"]
    return {
        node["metadata"]["name"]: any(_is_ready(entry) for entry in node["status"].get("conditions", ()))
        for node in nodes
    }


def _is_ready(condition: dict[str, Any]) -> bool:
    return bool(condition["type"] == "Ready" and condition["status"] == "True")


def _read(filename: str) -> Any:
    import yaml

    try:
        text = sys.stdin.read() if filename == "-" else Path(filename).read_text()
        return yaml.safe_load(text)
    except (OSError, yaml.YAMLError) as error:
        raise CommandError(f"{filename}: {error}") from error


def _with_files(content: Any, filename: str) -> Any:
    """Files that usage models and life cycles name, relative to the fleet file, become text in it.

    The cluster cannot read them.
    """
    folder = Path() if filename == "-" else Path(filename).parent
    spec = content.get("spec") if isinstance(content, dict) else None
    usage = spec.get("usage") if isinstance(spec, dict) else None
    models = usage.get("models") if isinstance(usage, dict) else None
    cycles = spec.get("lifeCycles") if isinstance(spec, dict) else None
    for items, named, field in (
        (models.values() if isinstance(models, dict) else (), "file", "csv"),
        (cycles if isinstance(cycles, list) else (), "logFile", "log"),
    ):
        for item in items:
            if isinstance(item, dict) and named in item:
                if field in item:
                    raise CommandError(f"{filename}: {named} and {field} exclude each other")
                item[field] = _text(folder / str(item.pop(named)))
    return content


def _text(path: Path) -> str:
    try:
        # Spreadsheets begin with a byte order mark.
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path}: is no text in UTF-8 ({error.reason})") from error


def _spec_of(body: dict[str, Any]) -> FleetSpec:
    try:
        return read_fleet(_content(body))
    except InvalidFleet as error:
        raise CommandError(f"{body['metadata']['name']}: {error}") from error


def _content(body: dict[str, Any]) -> Any:
    """Of a ConfigMap, which somebody may have edited. Raises CommandError."""
    try:
        return json.loads(body["data"][FILE_KEY])
    except (KeyError, TypeError, ValueError) as error:
        raise CommandError(f"{body['metadata']['name']}: {error}") from error


def _checked(content: Any) -> FleetSpec:
    try:
        return read_fleet(content)
    except InvalidFleet as error:
        raise CommandError(str(error)) from error


def _described(account: Account, name: str) -> dict[str, Any]:
    from twinplane.cli.eksctl import cluster

    described = cluster.describe(account, name)
    if described is None:
        raise CommandError(f"No cluster found for name: {name}.")
    return described


def _api(arguments: argparse.Namespace) -> Api:
    access = region_access(arguments.data_dir)
    return api_of(access, _described(account_of(access), arguments.cluster))


def _delete_arguments(parser: argparse.ArgumentParser) -> None:
    cluster_flag(parser)
    parser.add_argument("name", help="name of the fleet")


def _delete(arguments: argparse.Namespace) -> None:
    api = _api(arguments)
    _known(api, arguments.name)
    api.send("DELETE", f"{CONFIG_MAPS}/{CONFIG_MAP_PREFIX}{arguments.name}", {})
    Progress().done(f'fleet "{arguments.name}" deleted; its nodes follow')


def _known(api: Api, name: str) -> dict[str, Any]:
    body = api.find(f"{CONFIG_MAPS}/{CONFIG_MAP_PREFIX}{name}")
    if body is None:
        raise CommandError(f'there is no fleet "{name}" in this cluster')
    return body


def _get(arguments: argparse.Namespace) -> None:
    api = _api(arguments)
    found = api.get(f"{CONFIG_MAPS}?labelSelector={LABEL}")["items"]
    if arguments.output != "table":
        print_document([_content(body) for body in found], arguments.output)
        return
    rows: list[tuple[str, int, int, int, str, str]] = []
    for body in found:
        try:
            rows.append(_row(api, body))
        except CommandError as error:
            # Somebody edited it; the others are as they are.
            print(f"Error: {error}", file=sys.stderr)
    if rows:
        print_table(("NAME", "DESIRED", "NODES", "READY", "CIDR", "FAILURES"), rows)
    elif not found:
        print("No fleets found")


def _row(api: Api, body: dict[str, Any]) -> tuple[str, int, int, int, str, str]:
    spec = _spec_of(body)
    nodes = _nodes(api, f"{LABEL}={spec.name}")
    for group in spec.groups:
        if group.node_selector is not None:
            nodes |= _nodes(api, _selected(group.node_selector))
    active = [failure.kind for failure in _failures(body) if failure.active(time.time())]
    cidr, failures = str(spec.cidr or "<none>"), ", ".join(active) or "none"
    return spec.name, spec.nodes, len(nodes), sum(nodes.values()), cidr, failures


def _get_arguments(parser: argparse.ArgumentParser) -> None:
    cluster_flag(parser)
    output_flag(parser)


def _failures(body: dict[str, Any]) -> list[Failure]:
    try:
        return list(each(read_stored)(json.loads(body["data"].get(FAILURES_KEY) or "[]"), FAILURES_KEY))
    except ValueError as error:
        raise CommandError(f"{body['metadata']['name']}: {error}") from error


def _injected(body: dict[str, Any], now: float) -> list[Failure]:
    """Those that are not the file's, and not over."""
    return [failure for failure in _failures(body) if failure.injected and failure.ends > now]


def _inject_arguments(parser: argparse.ArgumentParser) -> None:
    cluster_flag(parser)
    parser.add_argument("name", help="name of the fleet")
    kinds = "; ".join(f"{kind}: {what}" for kind, (_, what) in KINDS.items())
    parser.add_argument("kind", choices=sorted(KINDS), metavar="KIND", help=kinds)
    parser.add_argument("--for", dest="lasts", required=True, metavar="DURATION", help="e.g. 90s, 5m")
    parser.add_argument("--group", default="", help="only nodes of this group")
    parser.add_argument("--zone", default="", help="only nodes of this zone")
    parser.add_argument("--nodes", default="", metavar="NAMES", help="only these nodes, comma-separated")
    parser.add_argument("--share", type=float, default=1.0, help="of the nodes or pods, 0 to 1 (default: 1)")
    parser.add_argument("--namespace", default="", help="only pods of this namespace")
    parser.add_argument("--selector", "-l", default="", metavar="K=V,...", help="only pods with these labels")
    parser.add_argument("--period", default="60s", metavar="DURATION", help="of flapping (default: 60s)")
    parser.add_argument("--factor", type=float, default=10.0, help="of slowStart (default: 10)")
    parser.add_argument("--type", default="Ready", help="of nodeCondition, e.g. DiskPressure (default: Ready)")
    parser.add_argument("--status", choices=STATUSES, default="", help="of nodeCondition (default: the bad one)")
    parser.add_argument("--reason", default="", help="of nodeCondition (default: the kubelet's)")
    parser.add_argument("--message", default="", help="of nodeCondition (default: the kubelet's)")
    parser.add_argument("--resource", default="memory", help="of eviction (default: memory)")


def _inject(arguments: argparse.Namespace) -> None:
    failure = _failure(arguments, time.time())
    api = _api(arguments)
    body = _known(api, arguments.name)
    try:
        check_covers(_spec_of(body), failure, "inject")
    except InvalidFleet as error:
        raise CommandError(str(error)) from error
    # What is over need not be kept.
    going = [known for known in _failures(body) if known.ends > time.time()]
    body["data"][FAILURES_KEY] = json.dumps([stored(known) for known in [*going, failure]])
    # The ConfigMap carries its resourceVersion: somebody else's injection meanwhile is a Conflict, not lost.
    api.send("PUT", f"{CONFIG_MAPS}/{CONFIG_MAP_PREFIX}{arguments.name}", body)
    until = datetime.fromtimestamp(failure.ends, UTC).strftime("%H:%M:%S UTC")
    Progress().done(f'{failure.kind} in fleet "{arguments.name}" until {until}')


def _failure(arguments: argparse.Namespace, now: float) -> Failure:
    try:
        failure = Failure(
            kind=arguments.kind,
            begins=now,
            ends=now + duration(arguments.lasts, "--for"),
            group=arguments.group,
            zone=arguments.zone,
            nodes=tuple(filter(None, arguments.nodes.split(","))),
            share=share(arguments.share, "--share"),
            namespace=arguments.namespace,
            selector=_selector(arguments.selector),
            period=duration(arguments.period, "--period"),
            factor=arguments.factor,
            type=arguments.type,
            status=arguments.status,
            reason=arguments.reason,
            message=arguments.message,
            resource=arguments.resource,
            injected=True,
        )
        check_failure(failure, "inject")
    except InvalidFleet as error:
        raise CommandError(str(error)) from error
    return failure


def _selector(text: str) -> tuple[tuple[str, str], ...]:
    pairs = [item.partition("=") for item in text.split(",") if item]
    if any(not equals or not key for key, equals, _ in pairs):
        raise CommandError(f"--selector must be labels such as app=web, got {text!r}")
    return tuple(sorted((key, value) for key, _, value in pairs))


APPLY = Command("Make the simulated nodes of a fleet file, or change them", _apply_arguments, _apply)
DELETE = Command("Delete a fleet and its nodes", _delete_arguments, _delete)
GET = Command("List fleets", _get_arguments, _get)
INJECT = Command("Let something fail in a fleet for a while", _inject_arguments, _inject)
