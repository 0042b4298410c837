"""Which slice of 100.64.0.0/10 stands for which VPC: agreed among all regions of this host.

The register is one file below /run (slices are links and routes, which do not outlive the machine either), changed
under a lock. A region keeps what it had, also over a reboot, when nobody else has taken it meanwhile; what belongs to a
data directory that is gone is free.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path

from twinplane import edge
from twinplane.edge import POOL, Slice

RUN = Path("/run/twinplane/edge")


class PoolExhausted(Exception):
    """No free slice of the wanted size."""


class Slices:
    def __init__(self, data_dir: Path, run_dir: Path = RUN) -> None:
        self._owner = str(data_dir.resolve())
        self._file = data_dir / edge.FILE
        self._register = run_dir / "slices.json"
        self._lock = run_dir / "lock"

    def reserve(self, wanted: Iterable[tuple[str, str]], avoid: Collection[IPv4Network] = ()) -> list[Slice]:
        """The slices of (VPC id, CIDR), and no others: what is not wanted is given back. `avoid` are networks of the
        pool that this host reaches otherwise. `edges.json` says the same when this returns. Raises `PoolExhausted`."""
        wanted = list(wanted)
        with self._locked():
            registered = self._read()
            others = {host: entry for host, entry in registered.items() if entry["owner"] != self._owner}
            taken = [IPv4Network(host) for host in others] + [held for held in avoid if held.overlaps(POOL)]
            found = allocate(wanted, self._before(registered), taken)
            own = {str(item.host): {"owner": self._owner, "vpc": item.vpc_id, "cidr": str(item.cidr)} for item in found}
            if registered != others | own:
                _write(self._register, json.dumps(others | own, indent=1, sort_keys=True))
            # Under the lock too: `down` beside a daemon that still runs writes the same file.
            content = edge.dump(found)
            if (not self._file.exists() and found) or (self._file.exists() and self._file.read_text() != content):
                _write(self._file, content)
        return found

    def others(self) -> bool:
        """Whether another region of this host has slices."""
        with self._locked():
            return any(entry["owner"] != self._owner for entry in self._read().values())

    def _before(self, registered: dict[str, dict[str, str]]) -> dict[tuple[str, str], IPv4Network]:
        before: dict[tuple[str, str], IPv4Network] = {}
        try:
            for item in edge.parse(self._file.read_text()):
                before[item.vpc_id, str(item.cidr)] = item.host
        except (FileNotFoundError, ValueError):
            # Damaged or absent: the register knows what this boot has.
            pass
        for host, entry in registered.items():
            if entry["owner"] == self._owner:
                before[entry["vpc"], entry["cidr"]] = IPv4Network(host)
        return before

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            loaded: dict[str, dict[str, str]] = json.loads(self._register.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return {host: entry for host, entry in loaded.items() if Path(entry["owner"]).is_dir()}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        with self._lock.open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def allocate(
    wanted: Iterable[tuple[str, str]], before: dict[tuple[str, str], IPv4Network], taken: Iterable[IPv4Network]
) -> list[Slice]:
    """Pure. What was held before stays where it is unless it is taken; the rest is the first that fits, large before
    small. Raises `PoolExhausted`."""
    used = list(taken)
    found: dict[tuple[str, str], Slice] = {}
    keys = sorted(set(wanted), key=lambda key: (IPv4Network(key[1]).prefixlen, key))
    for key in sorted(keys, key=lambda key: key not in before):
        cidr = IPv4Network(key[1])
        host = before.get(key)
        if host is None or host.prefixlen != cidr.prefixlen or any(host.overlaps(other) for other in used):
            host = first_free(cidr.prefixlen, used)
        used.append(host)
        found[key] = Slice(key[0], cidr, host)
    return [found[key] for key in keys]


def first_free(length: int, used: Collection[IPv4Network]) -> IPv4Network:
    size, at = 1 << (32 - length), int(POOL.network_address)
    while at + size - 1 <= int(POOL.broadcast_address):
        candidate = IPv4Network((at, length))
        blocking = [int(other.broadcast_address) for other in used if other.overlaps(candidate)]
        if not blocking:
            return candidate
        at = max(blocking) // size * size + size
    raise PoolExhausted(f"no /{length} of {POOL} is free for another VPC on this host")


def _write(path: Path, content: str) -> None:
    """Atomically: readers in other processes see the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.new")
    staged.write_text(content)
    os.replace(staged, path)
