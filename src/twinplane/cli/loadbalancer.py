"""get loadbalancers: the URLs at which load balancers answer from this machine."""

from __future__ import annotations

import argparse

from twinplane.cli.command import Command, output_flag
from twinplane.cli.output import CommandError, print_document, print_table
from twinplane.cli.region import internal
from twinplane.cli.region_access import region_access


def _get(arguments: argparse.Namespace) -> None:
    access = region_access(arguments.data_dir)
    answer = internal(access, "/_twinplane/loadbalancers")
    if answer is None:
        raise CommandError(f"the region in {access.directory.root} is not running: start it with `twinplane up`")
    balancers = answer["loadBalancers"]
    if arguments.output != "table":
        print_document(balancers, arguments.output)
    elif not balancers:
        print("No load balancers found")
    else:
        rows = [(b["name"], b["kind"], b["dnsName"], ", ".join(b["urls"])) for b in balancers]
        print_table(("NAME", "TYPE", "DNS NAME", "URL"), rows)


GET = Command("List load balancers and the URLs that reach them", output_flag, _get)
