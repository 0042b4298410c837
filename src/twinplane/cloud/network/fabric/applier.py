"""Brings this host to a plan with the fewest changes. Blocking: the loop calls it in a thread, one call at a time.

What was applied last is remembered; after a start, a failure and in every full check the kernel is asked instead, so a
restarted daemon finds everything as it left it and touches nothing. In each namespace what goes is deleted first,
then links are made, then entries; rules are in force before an interface is up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from twinplane.cloud.network.contract import name_prefix
from twinplane.cloud.network.fabric import kernel, names, namespaces, nft, uplink
from twinplane.cloud.network.fabric.desired import Entry, Link, Network, Plan
from twinplane.cloud.network.fabric.host import table_name
from twinplane.cloud.network.fabric.kernel import Current
from twinplane.cloud.network.fabric.namespaces import CommandFailed
from twinplane.cloud.network.fabric.uplink import Uplink
from twinplane.edge import POOL

ORDER = ("addr", "neigh", "route", "rule")
"""In which entries are added: routes need the addresses that they send from."""

POOL_HOLE = f"unreachable {POOL} metric 4278198272"
"""What has no slice never leaves by the host's default route. Regions share it."""


@dataclass(slots=True)
class Difference:
    gone: list[str] = field(default_factory=list)
    """Lines that delete; what is not there any more need not be deleted."""
    made: list[Link] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    rules: str = ""

    def __bool__(self) -> bool:
        return bool(self.gone or self.made or self.added or self.settings or self.rules)


def difference(current: Current, wanted: Network) -> Difference:
    """Pure. A link whose alias differs goes and comes again, with everything on it."""
    replaced = {
        name for name, alias in current.links.items() if name not in wanted.links or wanted.links[name].alias != alias
    }
    made = [link for name, link in wanted.links.items() if name in replaced or name not in current.links]
    anew = replaced | {link.name for link in made}
    kept = {entry for entry in current.entries if not _on(entry, anew)}
    come, gone = wanted.entries - kept, kept - wanted.entries
    coming = {entry.key for entry in come}
    # What a `replace` puts in its place is not deleted first: packets never meet a gap.
    deletions = [entry.delete for entry in gone if entry.key not in coming]
    additions = [
        entry.add for kind in ORDER for entry in sorted(come, key=lambda entry: entry.text) if entry.kind == kind
    ]
    settings = {
        path: value
        for path, value in wanted.settings.items()
        if current.settings.get(path) != value or any(f"/{name}/" in path for name in anew)
    }
    rules = nft.change(current.table, wanted.table) if wanted.table else ""
    gone_links = [f"link del {name}" for name in sorted(replaced)]
    return Difference(deletions + gone_links, made, additions, settings, rules)


def _on(entry: Entry, devices: set[str]) -> bool:
    words = entry.text.split()
    return any(words[at + 1] in devices for at, word in enumerate(words[:-1]) if word == "dev")


class Applier:
    def __init__(self, region: str, host_namespace: str | None = None) -> None:
        """`region` is a `contract.region_id`. `host_namespace` stands for the host when the fabric is tested."""
        self._prefix = name_prefix(region)
        self._host = host_namespace
        self._known: dict[str, Current] = {}
        """Routers by namespace; the host under the empty name."""
        self._made: set[str] = set()
        """Namespaces that this call made."""

    def apply(self, plan: Plan, *, check: bool = False) -> bool:
        """Whether anything was changed. With `check` the kernel is asked what there is. Raises `CommandFailed`; then
        the next call asks by itself."""
        if check:
            self._known.clear()
        try:
            changed = self._namespaces(plan)
            changed |= self._networks(plan)
        except (CommandFailed, OSError):
            self._known.clear()
            raise
        return changed

    def _namespaces(self, plan: Plan) -> bool:
        present = namespaces.existing(self._prefix)
        wanted = set(plan.routers) | set(plan.instances.values())
        self._made = wanted - present
        for name in sorted(self._made):
            namespaces.make(name)
            self._known.pop(name, None)
        for name in sorted(present - wanted):
            # The router's end of an interface goes with it, and no other end is left to anybody.
            namespaces.remove(name)
            self._known.pop(name, None)
        return present != wanted

    def _networks(self, plan: Plan) -> bool:
        found = {name: self._difference(name, network) for name, network in plan.routers.items()}
        made = [link for difference in found.values() for link in difference.made]
        for name, difference in found.items():
            if difference:
                namespaces.inside(name, partial(self._before, difference))
        self._far(made)
        for name, difference in found.items():
            if difference:
                namespaces.inside(name, partial(self._after, difference))
                self._remember(name, plan.routers[name])
        if any(link.name == names.EDGE for link in made):
            self._known.pop("", None)
        host = self._difference("", plan.host)
        if host:
            namespaces.inside(self._host, partial(self._apply_host, host, plan.host))
            self._remember("", plan.host)
        return any(found.values()) or bool(host)

    def _difference(self, name: str, wanted: Network) -> Difference:
        current = self._known.get(name)
        if current is None:
            where, prefix = (name, "") if name else (self._host, self._prefix)
            current = namespaces.inside(where, lambda: kernel.read(wanted.settings, prefix))
            if not name:
                # Links of the host come and go with the routers' ends.
                current.links.clear()
            self._known[name] = current
        for link in wanted.links.values():
            if link.far and link.far[0] in self._made and link.name in current.links:
                # It leads to a namespace of that name which somebody took away, and may be about to go itself.
                current.links[link.name] = ""
        return difference(current, wanted)

    def _before(self, difference: Difference) -> None:
        """Rules first: they name devices, and hold from the moment that there are any."""
        namespaces.load_rules(difference.rules)
        namespaces.batch(difference.gone, strict=False)
        near = [link for link in difference.made if link.far is None]
        namespaces.batch([line for link in near for line in (*link.lines, _complete(link))])

    def _far(self, links: Iterable[Link]) -> None:
        """Pairs are made from their far end, in one batch a namespace."""
        by_namespace: dict[str | None, list[str]] = {}
        for link in links:
            if link.far:
                namespace, lines = link.far
                by_namespace.setdefault(namespace, []).extend(lines)
        for namespace, commands in by_namespace.items():
            where = self._host if namespace is None else namespace
            namespaces.inside(where, partial(namespaces.batch, commands))

    def _after(self, difference: Difference) -> None:
        namespaces.write_settings(difference.settings)
        far = [link for link in difference.made if link.far is not None]
        namespaces.batch([line for link in far for line in link.lines])
        ports = [f"fdb replace {link.mac} dev {link.name} master static" for link in far if link.mac]
        namespaces.batch(ports, program="bridge")
        namespaces.batch([_complete(link) for link in far] + difference.added)

    def _apply_host(self, difference: Difference, wanted: Network) -> None:
        namespaces.write_settings(difference.settings)
        # Refused when it is there already.
        namespaces.batch([f"route add {POOL_HOLE}"], strict=False)
        namespaces.batch(difference.gone, strict=False)
        namespaces.batch(difference.added)
        namespaces.load_rules(difference.rules if wanted.table else nft.remove(table_name(self._prefix)))

    def _remember(self, name: str, applied: Network) -> None:
        self._known[name] = Current(
            {link.name: link.alias for link in applied.links.values()},
            set(applied.entries),
            dict(applied.settings),
            applied.table,
        )

    def uplink(self, run_dir: Path) -> Uplink:
        return namespaces.inside(self._host, partial(uplink.read, run_dir))

    def remove_everything(self, run_dir: Path | None) -> None:
        """Also what a killed daemon left: found by name. With `run_dir` no other region of the host is left, and what
        they share goes as well."""
        for name in sorted(namespaces.existing(self._prefix)):
            namespaces.remove(name)
        self._known.clear()
        namespaces.inside(self._host, self._clean_host)
        if run_dir is not None:
            namespaces.inside(self._host, partial(namespaces.batch, [f"route del {POOL_HOLE}"], strict=False))
            namespaces.inside(self._host, partial(uplink.restore, run_dir))

    def _clean_host(self) -> None:
        namespaces.load_rules(nft.remove(table_name(self._prefix)))
        # Those of a namespace just removed may be going by themselves.
        namespaces.batch([f"link del {name}" for name in kernel.read((), self._prefix).links], strict=False)


def _complete(link: Link) -> str:
    return f'link set {link.name} alias "{link.alias}"'
