"""exec, attach, port-forward, cp, logs -f and the proxies, with kubectl and the Python client."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.region_process import RegionProcess, eventually
from twinplane.region.ports import free_ports

OLDER = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"}
"""What kubectl spoke before 1.31: SPDY."""


@pytest.fixture
def web(region: RegionProcess, namespace: str) -> str:
    """The namespace of a Deployment `web` of one pod, behind a Service."""
    region.kubectl("create", "deployment", "web", "--image=nginx", "--port=80", "-n", namespace)
    region.kubectl("expose", "deployment", "web", "--port=80", "-n", namespace)
    region.kubectl("wait", "--for=condition=Available", "deploy/web", "--timeout=180s", "-n", namespace)
    return namespace


@contextlib.contextmanager
def running(region: RegionProcess, *command: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    environment = {**region.environment, **more}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def line_with(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return line
    raise AssertionError(f"ended without {text!r}")


@pytest.mark.parametrize("variables", [{}, OLDER], ids=["websocket", "spdy"])
def test_exec(region: RegionProcess, web: str, variables: dict[str, str]) -> None:
    def run(*command: str, stdin: str = "") -> tuple[int, str, str]:
        flags = ("-i",) if stdin else ()
        base = ("kubectl", "exec", *flags, "deploy/web", "-n", web)
        done = region.attempt(*base, *command, stdin=stdin, more=variables)
        return done.returncode, done.stdout, done.stderr

    pod = region.get("pods", "-n", web)["items"][0]["metadata"]["name"]
    assert run("--", "hostname") == (0, f"{pod}\n", "")
    assert run("--", "cat", stdin="to and fro\n") == (0, "to and fro\n", "")
    code, _, said = run("--", "sh", "-c", "exit 3")
    assert (code, said) == (3, "command terminated with exit code 3\n")
    code, _, said = run("--", "bash")
    assert code == 126
    assert 'exec: "bash": executable file not found in $PATH: unknown' in said
    code, _, said = run("-c", "none", "--", "hostname")
    assert code == 1
    assert "container none is not valid for pod" in said


def test_exec_moves_much(region: RegionProcess, web: str, tmp_path: Path) -> None:
    text = "".join(f"line {number}\n" for number in range(200_000))
    assert region.run("kubectl", "exec", "-i", "deploy/web", "-n", web, "--", "cat", stdin=text) == text


def test_copying_needs_tar(region: RegionProcess, web: str) -> None:
    pod = region.get("pods", "-n", web)["items"][0]["metadata"]["name"]
    done = region.attempt("kubectl", "cp", "/etc/hostname", f"{web}/{pod}:/tmp/x")
    assert done.returncode != 0
    assert '"tar": executable file not found' in done.stderr


@pytest.mark.parametrize("variables", [{}, OLDER], ids=["websocket", "spdy"])
def test_port_forward(region: RegionProcess, web: str, variables: dict[str, str]) -> None:
    (port,) = free_ports(1, "127.0.0.1")
    command = ("kubectl", "port-forward", "deploy/web", f"{port}:80", "-n", web, "--address=127.0.0.1")
    with running(region, *command, **variables) as process:
        line_with(process, "Forwarding from")
        for path in ("/a", "/b"):
            with urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
                found = json.load(answer)
            assert (found["namespace"], found["path"]) == (web, path)


def test_attach_and_logs_follow(region: RegionProcess, web: str) -> None:
    proxy = f"/api/v1/namespaces/{web}/services/web:80/proxy"
    with (
        running(region, "kubectl", "logs", "-f", "deploy/web", "-n", web) as logs,
        running(region, "kubectl", "attach", "deploy/web", "-n", web) as attached,
    ):
        line_with(attached, "If you don't see a command prompt")
        line_with(logs, "started")
        eventually(lambda: region.kubectl("get", "--raw", f"{proxy}/knock"), "an answer")
        assert "GET /knock" in line_with(logs, "/knock")
        eventually(lambda: region.kubectl("get", "--raw", f"{proxy}/again"), "an answer")
        assert "GET /again" in line_with(attached, "/again")


def test_run_attached(region: RegionProcess, namespace: str) -> None:
    output = region.kubectl(
        "run", "-i", "--rm", "--restart=Never", "once", "--image=busybox", "-n", namespace, "--pod-running-timeout=180s"
    )
    assert "exited with code 0" in output
    assert 'pod "once" deleted' in output


def test_proxies(region: RegionProcess, web: str) -> None:
    pod = region.get("pods", "-n", web)["items"][0]["metadata"]["name"]
    for target in ("services/web:80", "services/http:web:80", "services/web", f"pods/{pod}", f"pods/{pod}:80"):
        found = json.loads(region.kubectl("get", "--raw", f"/api/v1/namespaces/{web}/{target}/proxy/a?b=c"))
        assert (found["pod"], found["path"]) == (pod, "/a?b=c")
    node = region.get("nodes")["items"][0]["metadata"]["name"]
    assert region.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/healthz") == "ok"
    (port,) = free_ports(1, "127.0.0.1")
    with running(region, "kubectl", "proxy", f"--port={port}") as process:
        line_with(process, "Starting to serve")
        with urlopen(f"http://127.0.0.1:{port}/api/v1/namespaces/{web}/services/web:80/proxy/", timeout=60) as answer:
            assert json.load(answer)["pod"] == pod


PYTHON = """
import sys
from kubernetes import client, config
from kubernetes.stream import portforward, stream

namespace = sys.argv[1]
config.load_kube_config()
core = client.CoreV1Api()
pod = core.list_namespaced_pod(namespace).items[0].metadata.name

def execute(*command, stdin=False, **more):
    options = {"stdin": stdin, "stdout": True, "stderr": True, "tty": False, **more}
    return stream(core.connect_get_namespaced_pod_exec, pod, namespace, command=list(command), **options)

assert execute("echo", "hello") == "hello\\n"
failed = execute("false", _preload_content=False)
failed.run_forever(timeout=60)
assert failed.returncode == 1
talking = execute("cat", stdin=True, _preload_content=False)
talking.write_stdin("ping\\n")
assert talking.readline_stdout(timeout=60) == "ping"
talking.close()

forwarded = portforward(core.connect_get_namespaced_pod_portforward, pod, namespace, ports="80")
connection = forwarded.socket(80)
connection.settimeout(60)
connection.sendall(b"GET /py HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
assert b'"path":"/py"' in connection.recv(65536)
assert forwarded.error(80) is None
forwarded.close()
assert "'path': '/a'" in core.connect_get_namespaced_service_proxy_with_path("web:80", namespace, "a")
print("done")
"""


def test_the_python_client(region: RegionProcess, web: str) -> None:
    """In a process of its own: that client leaves its sockets to the garbage collector."""
    assert region.run(sys.executable, "-c", PYTHON, web) == "done\n"
