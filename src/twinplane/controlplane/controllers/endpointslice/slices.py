"""Which EndpointSlices must be written so that they hold the desired endpoints: as few as possible. Pure.

Endpoints stay in the slice they are in; changed ones are changed there, vanished ones removed, and new ones fill slices
that are written anyway, then the fullest slice with room for all of them, then new slices. An event then costs the
watchers (every node) one slice of at most a hundred endpoints. As upstream's reconcileByPortMapping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twinplane.kubeclient.contract import Object

ENDPOINTS_MAX = 100

Endpoint = dict[str, Any]


@dataclass
class Plan:
    create: list[list[Endpoint]] = field(default_factory=list)
    update: list[tuple[Object, list[Endpoint]]] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)


def identity_of(endpoint: Endpoint) -> str:
    """The same pod at the same address."""
    return str((endpoint.get("targetRef") or {}).get("uid", "")) + "/" + ",".join(endpoint["addresses"])


def planned(existing: Sequence[Object], desired: Mapping[str, Endpoint]) -> Plan:
    """`existing` all have the right ports and address type; `desired` is by identity."""
    plan = Plan()
    missing = dict(desired)
    contents: list[tuple[Object, list[Endpoint], bool]] = []
    for piece in existing:
        kept, changed = _kept(piece, missing)
        contents.append((piece, kept, changed))
    new = list(missing.values())
    for _, kept, changed in contents:
        if changed and kept and new:
            room = ENDPOINTS_MAX - len(kept)
            kept.extend(new[:room])
            del new[:room]
    remainder = len(new) % ENDPOINTS_MAX
    roomy = _fullest_with_room(contents, remainder) if new and remainder else None
    if roomy is not None:
        piece, kept, _ = contents[roomy]
        kept.extend(new[:remainder])
        del new[:remainder]
        contents[roomy] = (piece, kept, True)
    plan.create = [new[start : start + ENDPOINTS_MAX] for start in range(0, len(new), ENDPOINTS_MAX)]
    for piece, kept, changed in contents:
        if not kept:
            plan.delete.append(piece)
        elif changed:
            plan.update.append((piece, kept))
    return plan


def _kept(piece: Object, missing: dict[str, Endpoint]) -> tuple[list[Endpoint], bool]:
    """The desired endpoints that the slice holds already, taken out of `missing`, and whether it must be written."""
    kept = []
    changed = False
    for endpoint in piece.get("endpoints") or []:
        wanted = missing.pop(identity_of(endpoint), None)
        if wanted is None:
            changed = True
            continue
        changed = changed or wanted != endpoint
        kept.append(wanted)
    return kept, changed


def _fullest_with_room(contents: Sequence[tuple[Object, list[Endpoint], bool]], count: int) -> int | None:
    sizes = [(len(kept), number) for number, (_, kept, _) in enumerate(contents)]
    fitting = [(size, number) for size, number in sizes if size and size + count <= ENDPOINTS_MAX]
    return max(fitting)[1] if fitting else None
