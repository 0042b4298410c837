"""A containerd of the test's own: its directories, socket and images go with it, and nothing of it is shared.

Its one image is made of the host's own programs (a shell, sleep, cat, stty), so nothing is downloaded; its CNI plugin
gives pods a network namespace with a loopback interface and an address that leads nowhere.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

IMAGE = "twinplane.test/tools:1"
PROGRAMS = ("dash", "sleep", "cat", "stty", "dd", "seq", "ls")
START_SECONDS = 120.0
PLUGIN = """#!/bin/sh
[ "$CNI_COMMAND" = VERSION ] && echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}'
[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"0.4.0","interfaces":[{"name":"eth0","sandbox":"'$CNI_NETNS'"}],
 "ips":[{"version":"4","address":"10.99.0.2/32","interface":0}]}'
exit 0
"""


def missing() -> str:
    """What this host lacks; empty when it can run containers."""
    if os.geteuid() != 0:
        return "needs root"
    lacking = [name for name in ("containerd", "runc", "ctr") if shutil.which(name) is None]
    return f"needs {', '.join(lacking)}" if lacking else ""


@asynccontextmanager
async def private_containerd() -> AsyncIterator[Path]:
    """Its socket."""
    directory = Path(tempfile.mkdtemp(prefix="tpcd-"))
    socket = directory / "containerd.sock"
    (directory / "config.toml").write_text(_configuration(directory))
    _cni(directory)
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            ["containerd", "--config", directory / "config.toml"], stdout=log, stderr=log, start_new_session=True
        )
    try:
        await _until_ready(socket, process, directory)
        archive = directory / "image.tar"
        archive.write_bytes(image_archive())
        await _ctr(socket, "-n", "k8s.io", "images", "import", "--all-platforms", str(archive))
        yield socket
    finally:
        await _stop(socket, process)
        _unmount(directory)
        shutil.rmtree(directory, ignore_errors=True)


def _configuration(directory: Path) -> str:
    return f"""version = 2
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.tracing"]
[grpc]
address = "{directory}/containerd.sock"
[ttrpc]
address = "{directory}/containerd.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
path = "{directory}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{IMAGE}"
restrict_oom_score_adj = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{directory}/bin"
conf_dir = "{directory}/net.d"
"""


def _cni(directory: Path) -> None:
    for name in ("bin", "net.d"):
        (directory / name).mkdir()
    (directory / "bin" / "loopback").symlink_to("/usr/lib/cni/loopback")
    plugin = directory / "bin" / "nowhere"
    plugin.write_text(PLUGIN)
    plugin.chmod(0o755)
    conf = {"cniVersion": "0.4.0", "name": "nowhere", "plugins": [{"type": "nowhere"}]}
    (directory / "net.d" / "10-nowhere.conflist").write_text(json.dumps(conf))


async def _until_ready(socket: Path, process: subprocess.Popen[bytes], directory: Path) -> None:
    async with asyncio.timeout(START_SECONDS):
        while process.poll() is None:
            try:
                await _ctr(socket, "--connect-timeout", "1s", "plugins", "ls")
                return
            except RuntimeError:
                await asyncio.sleep(0.05)
    raise RuntimeError((directory / "log").read_text()[-2000:])


async def _ctr(socket: Path, *words: str) -> str:
    command = await asyncio.create_subprocess_exec(
        "ctr", "-a", str(socket), *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await command.communicate()
    if command.returncode != 0:
        raise RuntimeError(out.decode())
    return out.decode()


async def _stop(socket: Path, process: subprocess.Popen[bytes]) -> None:
    """Containers first: their shims outlive containerd."""
    if process.poll() is None:
        try:
            tasks = (await _ctr(socket, "-n", "k8s.io", "tasks", "ls", "-q")).split()
            for task in tasks:
                await _ctr(socket, "-n", "k8s.io", "tasks", "kill", "-a", "-s", "SIGKILL", task)
            for task in tasks:
                await _ctr(socket, "-n", "k8s.io", "tasks", "rm", "-f", task)
        except RuntimeError:
            # What is left is ended with its directory's mounts below.
            pass
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(process.wait, 10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _unmount(directory: Path) -> None:
    for line in reversed(Path("/proc/mounts").read_text().splitlines()):
        path = line.split(" ")[1]
        if path.startswith(str(directory)):
            subprocess.run(["umount", "-l", path], check=False)


# -- the image ---------------------------------------------------------------------------------------------------------


def image_archive() -> bytes:
    """An OCI image in docker's archive layout."""
    layer = _layer()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/bin/sleep", "infinity"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer).hexdigest()}"]},
        }
    ).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]).encode()
    return _tar({"layer.tar": layer, "config.json": config, "manifest.json": manifest})


def _layer() -> bytes:
    files: dict[str, bytes] = {}
    for name in PROGRAMS:
        path = shutil.which(name)
        assert path is not None
        files[f"bin/{'sh' if name == 'dash' else name}"] = Path(path).read_bytes()
        linked = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"(/\S+)", linked):
            files[library.lstrip("/")] = Path(library).read_bytes()
    return _tar(files)


def _tar(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in files.items():
            item = tarfile.TarInfo(name)
            item.size, item.mode = len(content), 0o755
            archive.addfile(item, io.BytesIO(content))
    return target.getvalue()
