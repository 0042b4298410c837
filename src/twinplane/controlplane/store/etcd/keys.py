"""Where the store's keys lie in etcd, which other clusters and programs may share.

The prefix `/twinplane/demo` holds `/registry/core/pods/a` at `/twinplane/demo/registry/core/pods/a`; beside it, at
`/twinplane/demo.revision`, lies the marker that every write of the cluster puts, and at `/twinplane/demo.origin` what a
cluster brought along that was moved here from another store.
"""

from __future__ import annotations


class Keyspace:
    def __init__(self, prefix: str) -> None:
        """`prefix` begins with a slash and ends without one."""
        self._prefix = prefix.encode()
        self.marker = f"{prefix}.revision".encode()
        self.origin = f"{prefix}.origin".encode()

    def key(self, key: str) -> bytes:
        """Raises ValueError for a key that does not begin with a slash: it could lie in another prefix."""
        if not key.startswith("/"):
            raise ValueError(f"not a key of a store in etcd: {key}")
        return self._prefix + key.encode()

    def name(self, key: bytes) -> str:
        return key[len(self._prefix) :].decode()

    def bounds(self, prefix: str, after: str = "") -> tuple[bytes, bytes]:
        """First key and range end of the keys under `prefix` that come after `after`."""
        start = self.key(prefix or "/")
        first = self.key(after) + b"\0" if after and after >= prefix else start
        return first, end_of_prefix(start)


def end_of_prefix(prefix: bytes) -> bytes:
    """The first key after all that begin with `prefix`. The empty prefix, and one of 0xFF alone, have none: b"\\0"."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes((trimmed[-1] + 1,)) if trimmed else b"\0"
