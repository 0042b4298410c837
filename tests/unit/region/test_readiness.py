"""`twinplane start controlplane` ends when the API server serves, or says why not."""

from __future__ import annotations

import argparse
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from twinplane.cli.controlplane import START
from twinplane.cli.output import CommandError
from twinplane.clock import SystemClock
from twinplane.controlplane.configuration import ControlPlaneConfiguration
from twinplane.region import readiness
from twinplane.region.certificates import CertificateAuthority, Subject
from twinplane.region.clusters import control_plane_process
from twinplane.region.data_directory import DataDirectory
from twinplane.region.launcher import record_daemon
from twinplane.region.processes import held, hold


@contextmanager
def server(folder: Path, answers: list[int]) -> Iterator[ControlPlaneConfiguration]:
    """It gives these answers, the last of them again and again; 0 is none."""
    authority = CertificateAuthority(folder / "pki", SystemClock().now())
    issued = authority.issue("apiserver", Subject("kube-apiserver", addresses=["127.0.0.1"]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code = answers.pop(0) if len(answers) > 1 else answers[0]
            if code:
                self.send_response(code)
                self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Quiet(HTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """The client hangs up as soon as it knows."""

    with Quiet(("127.0.0.1", 0), Handler) as listening:
        listening.socket = context.wrap_socket(listening.socket, server_side=True)
        thread = Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        values: dict[str, Any] = {item.name: "" for item in fields(ControlPlaneConfiguration) if item.type == "str"}
        values |= {"port": listening.server_port, "host": "127.0.0.1", "ca_file": str(authority.certificate_path)}
        try:
            yield ControlPlaneConfiguration(**values)
        finally:
            listening.shutdown()
            thread.join()


def stopped(root: Path, configuration: ControlPlaneConfiguration) -> DataDirectory:
    directory = DataDirectory(root)
    directory.create()
    directory.cluster("demo").mkdir(parents=True, exist_ok=True)
    (directory.cluster("demo") / "controlplane.json").write_text(configuration.dump())
    (directory.processes / f"{control_plane_process('demo')}.json").write_text("{}")
    hold(directory, control_plane_process("demo"))
    return directory


def start(directory: DataDirectory) -> None:
    START.run(argparse.Namespace(cluster="demo", data_dir=str(directory.root)))


def test_it_waits_until_the_server_is_ready(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = [500, 0, 500, 200]
    with server(tmp_path, answers) as configuration:
        directory = stopped(tmp_path, configuration)
        record_daemon(directory)
        start(directory)
    assert answers == [200]
    assert not held(directory, control_plane_process("demo"))
    assert capsys.readouterr().out == "The control plane of demo is ready.\n"


def test_one_that_never_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "READY_SECONDS_MAX", 0)
    with server(tmp_path, [500]) as configuration:
        directory = stopped(tmp_path, configuration)
        record_daemon(directory)
        with pytest.raises(CommandError, match=r"was not ready after 0 s; see .*demo.controlplane.log"):
            start(directory)


def test_without_a_daemon_it_starts_with_the_region(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with server(tmp_path, [500]) as configuration:
        directory = stopped(tmp_path, configuration)
        start(directory)
    assert capsys.readouterr().out == "The control plane of demo starts with the region: `twinplane up`.\n"
