"""CNI between containerd and the agent: the plugin program, its configuration, and the socket where the agent answers.

The program only carries bytes: a request is the CNI_* variables (`NAME=VALUE`, each ended by NUL), one more NUL, and
the standard input; an answer is one digit (the exit code) and the standard output. Specification: CNI 1.0 and 0.4.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

log = logging.getLogger(__name__)

NAME = "aws-cni"
CONFLIST = "10-aws.conflist"
VERSION = "1.0.0"
VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0")
UPSTREAM_PLUGINS = Path("/usr/lib/cni")
REQUEST_MAX = 1 << 20
REQUEST_SECONDS = 60.0
GENERIC = 100
"""`types.Error` code of a plugin's own failures."""

_PROGRAM = """#!{python} -IS
# CNI plugin of Twinplane's nodes: hands its request to the node agent. Imports only what Python has at its start.
import os
import sys

# The C module alone: `socket` would take half of this program's time.
import _socket

if os.environ.get("CNI_COMMAND") == "VERSION":
    os.write(1, b'{versions}')
    sys.exit(0)
names = [name for name in os.environb if name.startswith(b"CNI_")]
request = b"".join(name + b"=" + os.environb[name] + b"\\0" for name in names) + b"\\0" + sys.stdin.buffer.read()
answer = b""
try:
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.connect({socket!r})
    connection.settimeout({seconds})
    connection.sendall(request)
    connection.shutdown(_socket.SHUT_WR)
    while part := connection.recv(65536):
        answer += part
except OSError as error:
    sys.stderr.write(str(error))
if not answer:
    answer = b'1{unavailable}'
os.write(1, answer[1:])
sys.exit(answer[0] - 48)
"""
_UNAVAILABLE = {
    "cniVersion": VERSION,
    "code": GENERIC,
    "msg": "add cmd: Error received from AddNetwork gRPC call: rpc error: code = Unavailable "
    "desc = connection error: the node agent does not answer",
}


class CniError(Exception):
    """A failure that the container runtime is told; the message is what `kubectl describe pod` shows."""


@dataclass(frozen=True, slots=True)
class Request:
    command: str
    container: str
    namespace: str
    """Path of the network namespace; may be empty for DEL."""
    interface: str
    arguments: dict[str, str]
    """Of CNI_ARGS: K8S_POD_NAMESPACE, K8S_POD_NAME, ..."""
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def version(self) -> str:
        return str(self.config.get("cniVersion") or VERSION)


Answer = Callable[[Request], Awaitable[dict[str, Any]]]
"""The result, empty for none. Raises `CniError`."""


def install(socket: Path, binaries: Path = Path("/opt/cni/bin"), upstream: Path = UPSTREAM_PLUGINS) -> None:
    """The plugin, and those of Debian's containernetworking-plugins (containerd wants `loopback`)."""
    binaries.mkdir(parents=True, exist_ok=True)
    versions = orjson.dumps({"cniVersion": VERSION, "supportedVersions": VERSIONS}).decode()
    program = _PROGRAM.format(
        python=sys.executable,
        versions=versions,
        socket=str(socket),
        seconds=REQUEST_SECONDS,
        unavailable=orjson.dumps(_UNAVAILABLE).decode(),
    )
    _replace(binaries / NAME, program, 0o755)
    for plugin in sorted(upstream.iterdir()) if upstream.is_dir() else ():
        link = binaries / plugin.name
        if not link.exists() and not link.is_symlink():
            link.symlink_to(plugin)


def write_conflist(prefix: str, mtu: int, directory: Path = Path("/etc/cni/net.d")) -> None:
    """What makes the runtime's network ready, and so the node."""
    directory.mkdir(parents=True, exist_ok=True)
    plugin = {
        "name": NAME,
        "type": NAME,
        "vethPrefix": prefix,
        "mtu": str(mtu),
        "capabilities": {"portMappings": True},
    }
    content = {"cniVersion": VERSION, "name": NAME, "disableCheck": True, "plugins": [plugin]}
    _replace(directory / CONFLIST, orjson.dumps(content, option=orjson.OPT_INDENT_2).decode(), 0o644)


def remove_conflist(directory: Path = Path("/etc/cni/net.d")) -> None:
    (directory / CONFLIST).unlink(missing_ok=True)


def _replace(path: Path, content: str, mode: int) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(content)
    partial.chmod(mode)
    os.replace(partial, path)


def parse(data: bytes) -> Request:
    """Raises ValueError."""
    head, found, body = data.partition(b"\0\0")
    if not found:
        raise ValueError("not a request of the CNI plugin")
    variables = dict(item.split("=", 1) for item in head.decode().split("\0") if "=" in item)
    arguments = dict(item.split("=", 1) for item in variables.get("CNI_ARGS", "").split(";") if "=" in item)
    config = orjson.loads(body) if body.strip() else {}
    if not isinstance(config, dict):
        raise ValueError("the network configuration is not an object")
    return Request(
        variables.get("CNI_COMMAND", ""),
        variables.get("CNI_CONTAINERID", ""),
        variables.get("CNI_NETNS", ""),
        variables.get("CNI_IFNAME", "eth0"),
        arguments,
        config,
    )


class Server:
    """Each connection is one call of the plugin."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self._path = path
        self._answer = answer

    async def start(self) -> asyncio.Server:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._serve, self._path, limit=REQUEST_MAX)
        self._path.chmod(0o600)
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            data = await reader.read(REQUEST_MAX)
            while part := await reader.read(REQUEST_MAX):
                data += part
                if len(data) > REQUEST_MAX:
                    return
            writer.write(await self._answered(data))
            await writer.drain()
        except ConnectionError as error:
            log.debug("the CNI plugin went away: %s", error)
        finally:
            writer.close()

    async def _answered(self, data: bytes) -> bytes:
        version = VERSION
        try:
            request = parse(data)
            version = request.version
            result = await self._answer(request)
            return b"0" + (orjson.dumps({"cniVersion": version, **result}) if result else b"")
        except CniError as error:
            message = str(error)
        except ValueError as error:
            message = f"invalid request: {error}"
        except Exception as error:
            # The boundary of one call: the pod's sandbox fails and is tried again, the agent goes on.
            log.exception("CNI call failed")
            message = f"{type(error).__name__}: {error}"
        return b"1" + orjson.dumps({"cniVersion": version, "code": GENERIC, "msg": message})
