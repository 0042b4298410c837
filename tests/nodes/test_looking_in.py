"""kubectl looks into containers of real nodes: exec with a terminal, cp, port-forward, logs, attach, debug."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import termios
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.nodes.space import Space
from tests.region_process import eventually
from twinplane.region.ports import free_ports


@pytest.fixture(scope="module", autouse=True)
def running(space: Space) -> None:
    space.apply("streams.yaml")
    space.ready("shell", "counting", "listening", "server")


def test_exec_gives_streams_and_exit_code(space: Space) -> None:
    done = space.attempt("exec", "-i", "shell", "--", "sh", "-c", "cat; echo wrong >&2; exit 3", stdin="x" * 100_000)
    assert (done.stdout, done.returncode) == ("x" * 100_000, 3)
    assert done.stderr == "wrong\ncommand terminated with exit code 3\n"


class Terminal:
    """kubectl on a pseudo terminal."""

    def __init__(self, space: Space, *arguments: str) -> None:
        self._pid, self._file = pty.fork()
        if self._pid == 0:
            os.execvpe("kubectl", ["kubectl", "-n", space.name, *arguments], {**space.region.environment})
        self._text = ""

    def until(self, pattern: str, seconds: float = 120) -> str:
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self._text)):
            assert time.monotonic() < end, self._text
            if select.select([self._file], [], [], 0.2)[0]:
                self._text += os.read(self._file, 4096).decode()
        self._text = self._text[found.end() :]
        return found[0]

    def type(self, text: str) -> None:
        os.write(self._file, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        termios.tcsetwinsize(self._file, (rows, columns))

    def ended(self) -> int:
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        os.close(self._file)
        return code


def test_exec_with_a_terminal(space: Space) -> None:
    terminal = Terminal(space, "exec", "-it", "shell", "--", "sh")
    terminal.until("# ")
    terminal.resize(33, 101)
    terminal.type("tty; echo $((6*7))\r")
    terminal.until("/dev/pts/0\r\n42\r\n")
    terminal.type("until stty size | grep '33 101'; do sleep 0.1; done\r")
    terminal.until("33 101\r\n")
    terminal.type("sh -c 'echo go; sleep 100'\r")
    terminal.until("\ngo\r\n")
    terminal.type("\x03")
    terminal.until("# ")
    terminal.type("exit 4\r")
    terminal.until("exit code 4")
    assert terminal.ended() == 4


def test_cp_both_ways(space: Space, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "tree/deep").mkdir(parents=True)
    (tmp_path / "tree/deep/file").write_bytes(content)
    space.kubectl("cp", str(tmp_path / "tree"), "shell:/tmp/tree")
    space.kubectl("cp", "shell:/tmp/tree/deep/file", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == content


def test_port_forward(space: Space) -> None:
    port = free_ports(1, "127.0.0.1")[0]
    command = ("kubectl", "-n", space.name, "port-forward", "--address=127.0.0.1", "pod/server", f"{port}:80")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=space.region.environment) as forward:
        try:
            assert forward.stdout is not None
            assert forward.stdout.readline() == f"Forwarding from 127.0.0.1:{port} -> 80\n"
            for _ in range(3):
                with urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                    assert b"nginx" in answer.read()
        finally:
            forward.terminate()


def test_logs_in_parts(space: Space) -> None:
    tail = space.kubectl("logs", "counting", "--tail=3").split("\n")
    numbers = [int(line.removeprefix("line ")) for line in tail if line]
    assert numbers == list(range(numbers[0], numbers[0] + 3))
    eventually(lambda: len(space.kubectl("logs", "counting").splitlines()) > 15, "some lines")
    recent = space.kubectl("logs", "counting", "--since=1s", "--timestamps").splitlines()
    assert 0 < len(recent) < 15
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z line \d+", recent[0])
    assert space.kubectl("logs", "counting", "--limit-bytes=10") == "line 1\nlin"


def test_logs_followed(space: Space) -> None:
    command = ("kubectl", "-n", space.name, "logs", "-f", "--tail=1", "counting")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=space.region.environment) as log:
        assert log.stdout is not None
        numbers = [int(log.stdout.readline().removeprefix("line ")) for _ in range(4)]
        log.terminate()
    assert numbers == list(range(numbers[0], numbers[0] + 4))


def test_logs_of_the_container_before(space: Space) -> None:
    space.until("pod/restarted", ".status.containerStatuses[0].restartCount", "1")
    space.ready("restarted")
    assert space.kubectl("logs", "restarted", "--previous") == "before the end\n"
    assert space.kubectl("logs", "restarted") == ""


def test_attach_to_what_runs(space: Space) -> None:
    command = ("kubectl", "-n", space.name, "attach", "-i", "listening")
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=space.region.environment
    ) as attached:
        assert attached.stdin is not None
        assert attached.stdout is not None
        attached.stdin.write("hello\n")
        attached.stdin.flush()
        assert attached.stdout.readline() == "heard hello\n"
        attached.terminate()
    assert space.kubectl("logs", "listening").splitlines() == ["up", "heard hello"]


def test_run_takes_exit_code_and_goes(space: Space) -> None:
    script = "read line; echo got $line; exit 3"
    options = ("--image=busybox:1", "--restart=Never", "-i", "--rm", "-q")
    done = space.attempt("run", "once", *options, "--", "sh", "-c", script, stdin="this\n")
    assert ("got this" in done.stdout, done.returncode) == (True, 3)
    assert space.attempt("get", "pod", "once").returncode == 1


def test_debug_adds_a_container_that_sees_the_other_s_processes(space: Space) -> None:
    look = "ps; hostname"
    space.kubectl("debug", "shell", "-q", "--image=busybox:1", "--target=main", "-c", "look", "--", "sh", "-c", look)
    space.until("pod/shell", ".status.ephemeralContainerStatuses[0].state.terminated.reason", "Completed")
    said = space.kubectl("logs", "shell", "-c", "look")
    assert "sleep inf" in said
    assert said.splitlines()[-1] == "shell"
    assert space.field("pod/shell", ".status.containerStatuses[0].restartCount") == "0"


def test_debug_of_a_node_sees_the_node(space: Space) -> None:
    node = space.field("pod/shell", ".spec.nodeName")
    look = "hostname; ls -d /host/var/lib/kubelet; pidof containerd >/dev/null && echo containerd"
    space.kubectl("debug", f"node/{node}", "-q", "--image=busybox:1", "--", "sh", "-c", look)
    pods = space.get("pods")["items"]
    debugger = next(p["metadata"]["name"] for p in pods if p["metadata"]["name"].startswith("node-debugger-"))
    space.until(f"pod/{debugger}", ".status.phase", "Succeeded")
    assert space.kubectl("logs", debugger).splitlines() == [node, "/host/var/lib/kubelet", "containerd"]
