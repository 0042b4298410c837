"""Images under the names that upstream's tests pull, made out of Debian packages and programs built from upstream.

`python -m tests.conformance.images --data-dir DIR --agnhost PATH ...`, before a run with real nodes. Upstream's are of
Alpine; tests depend on programs and their answers only. Nothing of upstream is kept here: docs/conformance.md says how
the programs are built.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from twinplane.images import reference
from twinplane.images.pack import Recipe, pack
from twinplane.images.store import ImageStore
from twinplane.region.data_directory import DataDirectory

REGISTRY = "registry.k8s.io/e2e-test-images"
TOOLS = (
    *("bash", "bind9-dnsutils", "busybox", "curl", "iproute2", "iperf", "libc-bin", "mount", "netcat-openbsd"),
    *("procps", "util-linux"),
)
ACCOUNTS = {
    "etc/passwd": "user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh\n",
    "etc/group": "user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n",
}
"""What agnhost's image adds to these files: tests of supplemental groups look for it."""
SYSTEM_ACCOUNTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\nmail:x:8:\nnogroup:x:65534:\n",
}


def main() -> None:
    options = _options()
    make(DataDirectory(Path(options.data_dir)).images, programs_of(options), options.only or ())


def programs_of(options: argparse.Namespace) -> dict[str, Path]:
    return {name: Path(value) for name, value in vars(options).items() if name in PROGRAMS and value}


def make(directory: Path, programs: Mapping[str, Path], only: Sequence[str] = ()) -> None:
    """`directory` is DATA/images. Raises what `pack` raises."""
    store = ImageStore(directory)
    with tempfile.TemporaryDirectory(prefix="conformance-images-") as scratch:
        for names, recipe in recipes(programs, Path(scratch)):
            if only and not any(word in name for word in only for name in names):
                continue
            first, *others = (reference.parse(name) for name in names)
            pack(store, directory / "apt", first, recipe)
            for other in others:
                store.tag(first, other)
            sys.stderr.write(f"packed {' '.join(names)}\n")


PROGRAMS = {
    "agnhost": "most tests run it",
    "nonewprivs": "of test/images/nonewprivs",
    "sample_apiserver": "of k8s.io/sample-apiserver, for the aggregator's test",
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.images", description=__doc__)
    parser.add_argument("--data-dir", required=True, metavar="DIR", help="of the region whose nodes shall have them")
    parser.add_argument(
        "--only", metavar="WORD", action="append", help="images with this in their name; may be repeated"
    )
    for name, what in PROGRAMS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="PATH", required=name == "agnhost", help=what)
    return parser.parse_args()


def recipes(programs: Mapping[str, Path], scratch: Path) -> Iterator[tuple[Sequence[str], Recipe]]:
    """Names and what they are made of; images whose program was not built are left out."""
    agnhost = _executable(programs["agnhost"], scratch / "agnhost")
    yield (
        [f"{REGISTRY}/agnhost:2.63.0", f"{REGISTRY}/agnhost:2.55"],
        Recipe(
            apt=TOOLS,
            add=((agnhost, "/agnhost"), (_agnhost_files(scratch / "files"), "/")),
            entrypoint=("/agnhost",),
            command=("pause",),
        ),
    )
    yield from _systems(scratch)
    for pet in ("nautilus", "kitten"):
        page = _written(scratch / pet, {"data.json": json.dumps({"image": f"{pet}.jpg"}), "etc/os-release": ALPINE})
        add = ((agnhost, "/agnhost"), (page, "/"))
        yield (
            [f"{REGISTRY}/{pet}:1.8"],
            Recipe(add=add, entrypoint=("/agnhost",), command=("test-webserver",), minimal=True),
        )
    yield ["registry.k8s.io/pause:3.10.2"], Recipe(add=((agnhost, "/agnhost"),), entrypoint=("/agnhost", "pause"))
    if "nonewprivs" in programs:
        set_uid = _executable(programs["nonewprivs"], scratch / "nnp", 0o6755)
        yield [f"{REGISTRY}/nonewprivs:1.4"], Recipe(add=((set_uid, "/usr/local/bin/nnp"),), command=("nnp",))
    if "sample_apiserver" in programs:
        server = (_executable(programs["sample_apiserver"], scratch / "sample-apiserver"), "/sample-apiserver")
        yield [f"{REGISTRY}/sample-apiserver:1.29.2"], Recipe(add=(server,), entrypoint=("/sample-apiserver",))


ALPINE = 'NAME="Alpine Linux"\nID=alpine\n'
"""The test of image volumes wants to see the file of upstream's base image."""


def _systems(scratch: Path) -> Iterator[tuple[Sequence[str], Recipe]]:
    """Images of packages alone."""
    # Debian's busybox gives no variable on whose name is no shell variable's, and has `sysctl` elsewhere.
    files = _written(scratch / "busybox", SYSTEM_ACCOUNTS)
    for name, target in (("usr/bin/sh", "bash"), ("usr/bin/sysctl", "busybox")):
        _linked(files, name, target)
    yield [f"{REGISTRY}/busybox:1.37.0-1"], Recipe(apt=("busybox", "bash"), add=((files, "/"),), minimal=True)
    yield [f"{REGISTRY}/nginx:1.15-4", f"{REGISTRY}/nginx:1.27-0"], Recipe(apt=("nginx-light",))
    yield [f"{REGISTRY}/glibc-dns-testing:2.0.0"], Recipe(apt=TOOLS, command=("sleep", "infinity"))
    etcd = _linked(scratch / "etcd", "usr/local/bin/etcd", "/usr/bin/etcd")
    yield ["registry.k8s.io/etcd:3.6.8-0"], Recipe(apt=("etcd-server",), add=((etcd, "/"),), command=("etcd",))


def _executable(program: Path, copy: Path, mode: int = 0o755) -> Path:
    shutil.copyfile(program, copy)
    copy.chmod(mode)
    return copy


def _written(folder: Path, files: Mapping[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def _agnhost_files(folder: Path) -> Path:
    _written(folder, {name: SYSTEM_ACCOUNTS[name] + added for name, added in ACCOUNTS.items()})
    (folder / "uploads").mkdir()
    _certify(folder / "localhost.crt", folder / "localhost.key")
    return _linked(folder, "agnhost-2", "agnhost")


def _certify(certificate: Path, key: Path) -> None:
    """What `agnhost porter` serves TLS with; who signed it does not matter."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "3650", "-subj", "/CN=localhost", "-out", str(certificate), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    key.chmod(0o644)


def _linked(folder: Path, name: str, target: str) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).symlink_to(target)
    return folder


if __name__ == "__main__":
    main()
