"""The Corefile of the ConfigMap `coredns`: which zones are answered from the cluster, which are forwarded where.

Read in CoreDNS's grammar (server blocks, directives, nested blocks, comments). Directives that have a meaning
here are `kubernetes`, `forward` and `hosts`; those that only concern how CoreDNS runs are accepted; any other is
refused as CoreDNS refuses it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from twinplane.nameserver.forwarding import Server, servers_of

DEFAULT = """\
.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
    }
    prometheus :9153
    forward . /etc/resolv.conf
    cache 30
    loop
    reload
    loadbalance
}
"""
"""As EKS's coredns add-on has it."""

RUNNING = {
    *(
        "acl",
        "any",
        "autopath",
        "bind",
        "bufsize",
        "cache",
        "cancel",
        "debug",
        "errors",
        "health",
        "import",
        "lameduck",
    ),
    *("loadbalance", "local", "log", "loop", "metadata", "minimal", "prometheus", "ready", "reload", "root"),
}
"""Directives that do not change what is answered, or that this server does in its own way."""


class CorefileError(Exception):
    """With the line, in CoreDNS's words."""


@dataclass(slots=True)
class Directive:
    line: int
    words: list[str]
    block: list[Directive] = field(default_factory=list)


@dataclass(slots=True)
class Corefile:
    cluster_zones: list[str] = field(default_factory=list)
    """Absolute, reverse zones left out."""
    ttl: int = 5
    forward: dict[str, list[Server]] = field(default_factory=dict)
    """Zone -> servers; `.` for all that has no other."""
    hosts: dict[str, list[str]] = field(default_factory=dict)
    """Absolute name -> addresses."""


def parse(text: str) -> Corefile:
    """Raises `CorefileError`."""
    result = Corefile()
    for server in _blocks(text):
        zones = [_zone(word) for word in server.words]
        for directive in server.block:
            _apply(result, zones, directive)
    return result


def _apply(result: Corefile, zones: list[str], directive: Directive) -> None:
    name, *arguments = directive.words
    match name:
        case "kubernetes":
            result.cluster_zones += [_absolute(each) for each in arguments or zones if not each.endswith(".arpa")]
            result.ttl = next((int(each.words[1]) for each in directive.block if each.words[0] == "ttl"), result.ttl)
        case "forward":
            if len(arguments) < 2:
                raise CorefileError(
                    f"Corefile:{directive.line} - Error during parsing: Wrong argument count for forward"
                )
            below = zones if arguments[0] == "." else [_absolute(arguments[0])]
            servers = [server for argument in arguments[1:] for server in _servers(argument, directive.line)]
            result.forward |= dict.fromkeys(below, servers)
        case "hosts":
            for line in directive.block:
                if line.words[0][0].isdigit() or ":" in line.words[0]:
                    for host in line.words[1:]:
                        result.hosts.setdefault(_absolute(host).lower(), []).append(line.words[0])
        case _ if name not in RUNNING:
            raise CorefileError(f"Corefile:{directive.line} - Error during parsing: Unknown directive '{name}'")


def _servers(argument: str, line: int) -> list[Server]:
    if argument.startswith("/"):
        return servers_of(Path(argument))
    address = argument.split("://", 1)[-1]
    host, _, port = address.rpartition(":") if address.count(":") == 1 else (address, "", "53")
    if not port.isdigit():
        raise CorefileError(f"Corefile:{line} - Error during parsing: not an IP address or file: {argument!r}")
    return [(host, int(port))]


def _zone(word: str) -> str:
    """`example.org:53`, `.:53` or `dns://.` of a server block."""
    bare = word.split("://", 1)[-1].rstrip(",")
    return _absolute(bare.rsplit(":", 1)[0] if ":" in bare else bare)


def _absolute(name: str) -> str:
    return name.rstrip(".") + "."


def _blocks(text: str) -> list[Directive]:
    """The server blocks, each with its directives in `block`."""
    root = Directive(0, [])
    open_blocks = [root]
    number = 0
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        if words == ["}"]:
            if len(open_blocks) == 1:
                raise CorefileError(f"Corefile:{number} - Syntax error: Unexpected '}}'")
            open_blocks.pop()
            continue
        opens = words[-1] == "{"
        directive = Directive(number, words[:-1] if opens else words)
        if not directive.words:
            raise CorefileError(f"Corefile:{number} - Syntax error: Unexpected '{{', expecting a directive")
        open_blocks[-1].block.append(directive)
        if opens:
            open_blocks.append(directive)
    if len(open_blocks) > 1:
        raise CorefileError(f"Corefile:{number} - Syntax error: Unexpected EOF")
    return root.block
