"""Container logs: the format, what is selected of it, following, rotation."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kubelet_server.world import MemoryRuntime, pod
from twinplane.dataplane.kubelet.logs import links, rotation
from twinplane.dataplane.kubelet.logs.access import NoLog, logged_container
from twinplane.dataplane.kubelet.logs.format import Selection, nine_digits
from twinplane.dataplane.kubelet.logs.reading import log_text, tail_offset
from twinplane.dataplane.log_options import InvalidLogOptions, LogOptions, log_options
from twinplane.kubeclient.contract import Object
from twinplane.testing.virtual_time import VirtualClock, virtual_time

STAMP = "2023-11-14T22:13:2{}.5Z"


def line(second: int, text: str, *, stream: str = "stdout", tag: str = "F") -> bytes:
    return f"{STAMP.format(second)} {stream} {tag} {text}\n".encode()


LINES = [line(0, "one"), line(1, "two ", tag="P"), line(2, "halves"), line(3, "oops", stream="stderr"), line(4, "five")]


def text(options: LogOptions) -> bytes:
    return Selection(options).text(LINES)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (LogOptions(), b"one\ntwo halves\noops\nfive\n"),
        (LogOptions(limit=6), b"one\ntw"),
        (LogOptions(stream="Stderr"), b"oops\n"),
        (LogOptions(stream="Stdout"), b"one\ntwo halves\nfive\n"),
        (LogOptions(since=1_700_000_003.0), b"oops\nfive\n"),
        (LogOptions(since=1_700_000_003.7), b"five\n"),
        (LogOptions(timestamps=True, limit=35), b"2023-11-14T22:13:20.500000000Z one\n"),
    ],
)
def test_selection(options: LogOptions, expected: bytes) -> None:
    assert text(options) == expected


def test_timestamps_stand_before_whole_lines_only() -> None:
    shown = text(LogOptions(timestamps=True)).decode().splitlines()
    assert shown[1] == "2023-11-14T22:13:21.500000000Z two halves"
    assert nine_digits(b"2023-11-14T22:13:20+01:00") == b"2023-11-14T22:13:20.000000000+01:00"


def test_lines_that_are_none_are_passed_over() -> None:
    assert Selection(LogOptions()).text([b"garbage\n", b"\n", line(0, "good")]) == b"good\n"


@given(
    st.lists(st.text(st.characters(codec="ascii", exclude_characters="\n"), max_size=40), max_size=40),
    st.integers(0, 45),
    st.booleans(),
)
def test_the_tail_is_the_last_lines(lines: list[str], wanted: int, ended: bool) -> None:
    content = "\n".join(lines) + ("\n" if ended and lines else "")
    given_lines = content.splitlines(keepends=True) if "\r" not in content else content.encode().decode().split("\n")
    if any(mark in content for mark in "\r\x0b\x0c\x1c\x1d\x1e"):
        return
    file = io.BytesIO(content.encode())
    expected = "".join(given_lines[max(len(given_lines) - wanted, 0) :]) if wanted else ""
    offset = tail_offset(file, wanted)
    assert content.encode()[offset:].decode() == expected


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({"tailLines": "-1"}, InvalidLogOptions),
        ({"limitBytes": "0"}, InvalidLogOptions),
        ({"sinceSeconds": "0"}, InvalidLogOptions),
        ({"sinceSeconds": "1", "sinceTime": "2023-11-14T22:13:20Z"}, InvalidLogOptions),
        ({"stream": "Stdout", "tailLines": "1"}, InvalidLogOptions),
        ({"stream": "Both"}, InvalidLogOptions),
        ({"tailLines": "x"}, ValueError),
        ({"sinceTime": "yesterday"}, ValueError),
    ],
)
def test_bad_options(query: dict[str, str], problem: type[Exception]) -> None:
    with pytest.raises(problem):
        log_options(query, 0.0)


async def running() -> bool:
    return True


async def read(path: Path, options: LogOptions) -> bytes:
    return b"".join([piece async for piece in log_text(path, options, running)])


@virtual_time
async def test_reading_a_file(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(b"".join(LINES) + b"2023-11-14T22:13:29Z stdout F cut")
    assert await read(path, LogOptions()) == b"one\ntwo halves\noops\nfive\ncut"
    assert await read(path, LogOptions(tail=2)) == b"five\ncut"
    assert await read(path, LogOptions(tail=0)) == b""
    with pytest.raises(OSError, match="No such file"):
        await read(tmp_path / "1.log", LogOptions())


@virtual_time
async def test_following_across_rotation_until_the_container_ends(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(line(0, "before"))
    alive = True

    async def is_running() -> bool:
        return alive

    found: list[bytes] = []

    async def follow() -> None:
        found.extend([piece async for piece in log_text(path, LogOptions(follow=True, tail=1), is_running)])

    task = asyncio.create_task(follow())
    await asyncio.sleep(1)
    with path.open("ab") as file:
        file.write(line(1, "more"))
        await asyncio.sleep(1)
        path.rename(tmp_path / "0.log.20231114-221322")
        file.write(line(2, "last of the old file"))
    await asyncio.sleep(1)
    path.write_bytes(line(3, "first of the new one"))
    await asyncio.sleep(1)
    alive = False
    with path.open("ab") as file:
        file.write(line(4, "end"))
    await asyncio.wait_for(task, 5)
    assert b"".join(found) == b"before\nmore\nlast of the old file\nfirst of the new one\nend\n"


# -- which log is meant ------------------------------------------------------------------------------------------------


def status(state: dict[str, object], last: dict[str, object] | None = None) -> Object:
    body = pod()
    body["status"]["containerStatuses"][0] |= {
        "state": state,
        "lastState": last or {},
        "containerID": "containerd://now",
    }
    return body


DIED = {"terminated": {"containerID": "containerd://before"}}


@pytest.mark.parametrize(
    ("state", "last", "previous", "expected"),
    [
        ({"running": {}}, None, False, "now"),
        ({"running": {}}, DIED, True, "before"),
        ({"waiting": {"reason": "CrashLoopBackOff"}}, DIED, False, "before"),
        ({"terminated": {"containerID": "containerd://now"}}, None, False, "now"),
        ({"running": {}}, None, True, 'previous terminated container "main" in pod "web" not found'),
        ({"terminated": {}}, None, False, 'container "main" in pod "web" is terminated'),
        (
            {"waiting": {"reason": "ImagePullBackOff"}},
            None,
            False,
            'container "main" in pod "web" is waiting to start: trying and failing to pull image',
        ),
    ],
)
def test_logged_container(
    state: dict[str, object], last: dict[str, object] | None, previous: bool, expected: str
) -> None:
    body = status(state, last)
    if "waiting" in state and last is None:
        del body["status"]["containerStatuses"][0]["containerID"]
    if expected in ("now", "before"):
        assert logged_container(body, "main", previous=previous) == expected
        return
    with pytest.raises(NoLog) as refused:
        logged_container(body, "main", previous=previous)
    assert str(refused.value) == expected


# -- rotation ----------------------------------------------------------------------------------------------------------


@virtual_time
async def test_rotation_keeps_and_compresses(tmp_path: Path, clock: VirtualClock) -> None:
    runtime = MemoryRuntime()
    runtime.add("c")
    runtime.logs["c"] = path = tmp_path / "0.log"
    rotating = rotation.LogRotation(runtime.as_contract(), clock, max_bytes=10, max_files=4)
    for number in range(6):
        path.write_bytes(f"content {number} of it".encode())
        await rotating.rotate()
        await asyncio.sleep(10)
    assert runtime.reopened == ["c"] * 6
    rotated = rotation.rotated_logs(path)
    assert [each.suffix for each in rotated] == [".gz", ".gz", f".{rotated[2].name[6:]}"]
    assert gzip.decompress(rotated[0].read_bytes()) == b"content 3 of it"
    assert rotated[2].read_bytes() == b"content 5 of it"
    rotation.remove(path)
    assert os.listdir(tmp_path) == []


@virtual_time
async def test_a_log_that_cannot_be_reopened_stays(tmp_path: Path, clock: VirtualClock) -> None:
    runtime = MemoryRuntime()
    runtime.add("c")
    runtime.fails_to_reopen = True
    runtime.logs["c"] = path = tmp_path / "0.log"
    path.write_bytes(b"x" * 20)
    await rotation.LogRotation(runtime.as_contract(), clock, max_bytes=10, max_files=5).rotate()
    assert os.listdir(tmp_path) == ["0.log"]


def test_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "CONTAINER_LOGS", tmp_path / "containers")
    log = tmp_path / "0.log"
    log.touch()
    links.link(log, "default", "web", "main", "abc")
    links.link(log, "default", "web", "main", "abc")
    assert (tmp_path / "containers" / "web_default_main-abc.log").resolve() == log
    log.unlink()
    links.remove_dangling()
    assert list((tmp_path / "containers").iterdir()) == []
