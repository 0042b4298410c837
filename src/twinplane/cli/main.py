"""Entry point: finds the command in a table and imports only its module, so that `token` starts in a blink."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from twinplane.cli.command import Command, Parser
from twinplane.cli.output import CommandError

COMMANDS = {
    "up": ("twinplane.cli.region:UP", "Start the region, or find it running"),
    "down": ("twinplane.cli.region:DOWN", "Stop the region; its data stays unless --purge"),
    "status": ("twinplane.cli.region:STATUS", "Show what runs"),
    "env": ("twinplane.cli.region:ENV", 'Print the environment for clients: eval "$(twinplane env)"'),
    "logs": ("twinplane.cli.region:LOGS", "Show the logs of the region's processes"),
    "create cluster": ("twinplane.cli.cluster:CREATE", "Create a cluster from an eksctl ClusterConfig or from flags"),
    "create nodegroup": ("twinplane.cli.nodegroup:CREATE", "Create a managed node group"),
    "create iamserviceaccount": ("twinplane.cli.identity:CREATE_ACCOUNT", "Make a role for a service account (IRSA)"),
    "create podidentityassociation": (
        "twinplane.cli.identity:CREATE_ASSOCIATION",
        "Give a service account a role through EKS Pod Identity",
    ),
    "get cluster": ("twinplane.cli.cluster:GET", "List clusters"),
    "get nodegroup": ("twinplane.cli.nodegroup:GET", "List node groups of a cluster"),
    "get iamserviceaccount": ("twinplane.cli.identity:GET_ACCOUNTS", "List service accounts with a role (IRSA)"),
    "get podidentityassociation": (
        "twinplane.cli.identity:GET_ASSOCIATIONS",
        "List associations of EKS Pod Identity",
    ),
    "get loadbalancers": ("twinplane.cli.loadbalancer:GET", "List load balancers and the URLs that reach them"),
    "scale nodegroup": ("twinplane.cli.nodegroup:SCALE", "Change the size of a node group"),
    "delete cluster": ("twinplane.cli.cluster:DELETE", "Delete a cluster and everything made for it"),
    "delete iamserviceaccount": ("twinplane.cli.identity:DELETE_ACCOUNT", "Delete a service account and its role"),
    "delete podidentityassociation": (
        "twinplane.cli.identity:DELETE_ASSOCIATION",
        "Delete an association of EKS Pod Identity",
    ),
    "delete nodegroup": ("twinplane.cli.nodegroup:DELETE", "Delete a node group"),
    "stop controlplane": ("twinplane.cli.controlplane:STOP", "Keep a cluster's control plane away; its nodes go on"),
    "start controlplane": ("twinplane.cli.controlplane:START", "Let a stopped control plane run again"),
    "store migrate": (
        "twinplane.cli.store:MIGRATE",
        "Move a stopped cluster's objects between the embedded store and etcd",
    ),
    "fleet apply": ("twinplane.cli.fleet:APPLY", "Make simulated nodes without EC2 instances from a fleet file"),
    "fleet delete": ("twinplane.cli.fleet:DELETE", "Delete a fleet and its nodes"),
    "fleet get": ("twinplane.cli.fleet:GET", "List fleets"),
    "fleet inject": ("twinplane.cli.fleet:INJECT", "Let nodes or pods of a fleet fail for a while"),
    "explain pod": ("twinplane.cli.explain:POD", "Show every node's verdict and score for a pod"),
    "image pack": ("twinplane.cli.image:PACK", "Make a container image out of Debian packages and files"),
    "image import": ("twinplane.cli.image:IMPORT", "Take the images of a docker-save or OCI archive"),
    "image ls": ("twinplane.cli.image:LIST", "List the images of the region's registry"),
    "image tag": ("twinplane.cli.image:TAG", "Give an image another name"),
    "image rm": ("twinplane.cli.image:REMOVE", "Remove image names, and what they alone held"),
    "token": ("twinplane.cli.cluster:TOKEN", "Print an ExecCredential for kubectl"),
    "utils write-kubeconfig": ("twinplane.cli.cluster:WRITE_KUBECONFIG", "Write the kubeconfig entry of a cluster"),
    "utils associate-iam-oidc-provider": (
        "twinplane.cli.identity:ASSOCIATE",
        "Make the IAM OIDC provider of a cluster",
    ),
    "version": ("twinplane.cli.region:VERSION", "Print the version"),
}
ALIASES = {
    "images": "image",
    "clusters": "cluster",
    "ng": "nodegroup",
    "nodegroups": "nodegroup",
    "lb": "loadbalancers",
    "po": "pod",
    "pods": "pod",
    "loadbalancer": "loadbalancers",
    "iamserviceaccounts": "iamserviceaccount",
    "podidentityassociations": "podidentityassociation",
}


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        try:
            return _guarded(given)
        finally:
            # Written here, not at the interpreter's end, where nobody can catch what the reader's absence raises.
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output went away (`| head`); Python would complain again while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _guarded(given: list[str]) -> int:
    """What goes wrong becomes a sentence and an exit status."""
    try:
        return _run(given)
    except CommandError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        raise
    except Exception as error:
        # The outermost boundary: what AWS refused is the user's to read as a sentence, the rest is a defect to trace.
        sentence = _aws_sentence(error)
        if sentence is None:
            raise
        print(f"Error: {sentence}", file=sys.stderr)
        return 1


def _aws_sentence(error: Exception) -> str | None:
    """For an error of botocore, which is looked up only if something imported it."""
    exceptions = sys.modules.get("botocore.exceptions")
    if exceptions is None:
        return None
    if isinstance(error, exceptions.ClientError):
        refused = error.response.get("Error", {})
        return f"{error.operation_name}: {refused.get('Message') or refused.get('Code') or error}"
    if isinstance(error, exceptions.EndpointConnectionError):
        return "the region is not running: start it with `twinplane up`"
    return str(error) if isinstance(error, exceptions.BotoCoreError) else None


def _run(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if given[0] == "--version":
        given = ["version"]
    words = [ALIASES.get(word, word) for word in given[:2]]
    name = next((name for name in (" ".join(words), words[0]) if name in COMMANDS), None)
    if name is None:
        raise CommandError(_unknown(given))
    module, _, attribute = COMMANDS[name][0].partition(":")
    command: Command = getattr(importlib.import_module(module), attribute)
    parser = Parser(prog=f"twinplane {name}", description=command.summary, allow_abbrev=False)
    parser.add_argument("--data-dir", metavar="DIR", help="the region's data (default: $TWINPLANE_HOME or XDG data)")
    command.arguments(parser)
    command.run(parser.parse_args(given[len(name.split()) :]))
    return 0


def _unknown(given: list[str]) -> str:
    nouns = [name.split()[1] for name in COMMANDS if name.startswith(given[0] + " ")]
    if not nouns:
        return f'unknown command "{given[0]}"; see `twinplane --help`'
    if len(given) == 1 or given[1].startswith("-"):
        return f"`twinplane {given[0]}` needs one of: {', '.join(nouns)}"
    return f'unknown command "{given[0]} {given[1]}"; `twinplane {given[0]}` takes {", ".join(nouns)}'


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}  {summary}" for name, (_, summary) in COMMANDS.items()]
    head = "Amazon EKS on your own machine.\n\nUsage: twinplane COMMAND [flags]\n\nCommands:"
    return "\n".join([head, *lines, "", "`twinplane COMMAND --help` shows the flags of a command."])


if __name__ == "__main__":
    sys.exit(main())
