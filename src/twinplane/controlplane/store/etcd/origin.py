"""What a cluster that was moved into etcd brought along: how its revisions continue.

Clients hold resourceVersions of the store that a cluster lived in before, and those must never go backwards; etcd's own
revision cannot be set. So the store adds an offset to every revision, kept beside the cluster's keys. What lies before
the move is refused as compacted: clients list again, as after any compaction.
"""

from __future__ import annotations

import json
from typing import NamedTuple


class Origin(NamedTuple):
    offset: int = 0
    """The contract's revision less etcd's."""
    floor: int = 0
    """Revisions (of the contract) below this are of an earlier store."""

    def dump(self) -> bytes:
        return json.dumps(self._asdict()).encode()

    @classmethod
    def load(cls, value: bytes) -> Origin:
        """Raises ValueError and TypeError for a value that is not ours."""
        return cls(**json.loads(value))
