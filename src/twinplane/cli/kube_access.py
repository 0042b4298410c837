"""A command's way to a cluster's API server: the kubeconfig that kubectl would use, with the user's own credentials.

Understands what EKS's and our entries use: bearer tokens, exec plugins and client certificates.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import tempfile
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import yaml

from twinplane.cli.output import CommandError
from twinplane.kubeclient.http import HttpClient

EXEC_SECONDS = 60


def kubeconfig_flags(parser: ArgumentParser) -> None:
    parser.add_argument("--kubeconfig", metavar="FILE", help="kubeconfig to use (default: as kubectl finds it)")
    parser.add_argument("--context", metavar="NAME", help="context of the kubeconfig (default: the current one)")


def client_of(arguments: Namespace) -> tuple[HttpClient, str]:
    """(a client, not entered yet; the namespace of the context). Raises `CommandError`."""
    path = _file(arguments.kubeconfig)
    try:
        config = yaml.safe_load(path.read_text())
    except OSError as error:
        raise CommandError(f"cannot read the kubeconfig {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise CommandError(f"{path} is not a kubeconfig: {error}") from error
    if not isinstance(config, dict):
        raise CommandError(f"{path} is not a kubeconfig")
    name = arguments.context or config.get("current-context") or ""
    if not name:
        raise CommandError(f"{path} has no current context: name one with --context")
    context = _entry(config, "context", name, path)
    cluster = _entry(config, "cluster", context.get("cluster") or "", path)
    user = _entry(config, "user", context.get("user") or "", path) if context.get("user") else {}
    secrets = _credentials(user, path.parent)
    token = secrets.get("token") or ""

    async def token_source() -> str:
        return token

    context_of_tls = _tls(cluster, secrets, path.parent)
    client = HttpClient(
        cluster.get("server") or "", context_of_tls, token_source if token else None, user_agent="twinplane"
    )
    return client, context.get("namespace") or "default"


def _file(given: str | None) -> Path:
    named = given or next(filter(None, os.environ.get("KUBECONFIG", "").split(os.pathsep)), "")
    return Path(named or "~/.kube/config").expanduser()


def _entry(config: dict[str, Any], kind: str, name: str, path: Path) -> dict[str, Any]:
    for entry in config.get(f"{kind}s") or ():
        if entry.get("name") == name:
            return dict(entry.get(kind) or {})
    raise CommandError(f'{path} has no {kind} "{name}"')


def _credentials(user: dict[str, Any], folder: Path) -> dict[str, str]:
    """`token`, or `certificate` and `key` as PEM; empty for nobody."""
    if user.get("exec"):
        return _from_plugin(user["exec"])
    found = {
        "token": user.get("token") or _text(user, "tokenFile", folder),
        "certificate": _pem(user, "client-certificate", folder),
        "key": _pem(user, "client-key", folder),
    }
    return {name: value for name, value in found.items() if value}


def _from_plugin(plugin: dict[str, Any]) -> dict[str, str]:
    command = [plugin["command"], *(plugin.get("args") or ())]
    information = {"apiVersion": plugin.get("apiVersion"), "kind": "ExecCredential", "spec": {"interactive": False}}
    environment = dict(os.environ) | {item["name"]: item["value"] for item in plugin.get("env") or ()}
    environment["KUBERNETES_EXEC_INFO"] = json.dumps(information)
    try:
        answer = subprocess.run(command, env=environment, capture_output=True, timeout=EXEC_SECONDS, check=True)
        status = json.loads(answer.stdout).get("status") or {}
    except subprocess.CalledProcessError as error:
        raise CommandError(f"{command[0]} gave no credentials: {error.stderr.decode().strip()}") from error
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        raise CommandError(f"{command[0]} gave no credentials: {error}") from error
    found = {
        "token": status.get("token"),
        "certificate": status.get("clientCertificateData"),
        "key": status.get("clientKeyData"),
    }
    return {name: value for name, value in found.items() if value}


def _tls(cluster: dict[str, Any], secrets: dict[str, str], folder: Path) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=_pem(cluster, "certificate-authority", folder) or None)
        if cluster.get("insecure-skip-tls-verify"):
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if "certificate" in secrets and "key" in secrets:
            # The standard library takes them from files only; this one is gone as soon as it is read.
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as pair:
                pair.write(secrets["certificate"] + "\n" + secrets["key"])
                pair.flush()
                context.load_cert_chain(pair.name)
    except (ssl.SSLError, ValueError) as error:
        raise CommandError(f"the kubeconfig's certificates are of no use: {error}") from error
    return context


def _pem(entry: dict[str, Any], name: str, folder: Path) -> str:
    data = str(entry.get(f"{name}-data") or "")
    return base64.b64decode(data).decode() if data else _text(entry, name, folder)


def _text(entry: dict[str, Any], name: str, folder: Path) -> str:
    if not entry.get(name):
        return ""
    path = folder / str(entry[name])
    try:
        return path.read_text().strip()
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from error
