"""What the kernel holds for all Services, and the transaction from there to what it should hold.

Keeps the rules of each Service and who holds an address that several claim (external IPs): the first keeps it until it
goes. No input or output.
"""

from __future__ import annotations

from collections import Counter

from twinplane.dataplane.network.nftables import Change, Ruleset, difference
from twinplane.dataplane.network.proxy.rules import HAIRPINS, Orders, ServiceRules, shared_chain

_NOTHING = ServiceRules()


class Table:
    def __init__(self, frame: Ruleset) -> None:
        self._services: dict[str, ServiceRules] = {}
        self._shared: set[str] = set()
        self._hairpins: Counter[str] = Counter()
        self._holders: dict[str, str] = {}
        self._claims: dict[str, set[str]] = {}
        self._frame: Ruleset | None = frame

    def orders(self, service: str) -> Orders:
        return self._services.get(service, _NOTHING).orders

    def update(self, new: dict[str, ServiceRules | None]) -> tuple[Change, set[str]]:
        """The change, and Services that must be built again since an address became free for them."""
        change = Change()
        if self._frame is not None:
            change = difference(Ruleset(), self._frame)
            self._frame = None
        again: set[str] = set()
        hairpins: Counter[str] = Counter()
        for service, rules in new.items():
            again |= self._release(service, rules or _NOTHING)
        for service, rules in new.items():
            before = self._services.get(service, _NOTHING)
            after = self._claimed(service, rules) if rules is not None else _NOTHING
            self._compare(change, before, after)
            hairpins.update(after.hairpins)
            hairpins.subtract(before.hairpins)
            if rules is None:
                self._services.pop(service, None)
            else:
                self._services[service] = after
        self._count(change, hairpins)
        return change, again - new.keys()

    def _compare(self, change: Change, before: ServiceRules, after: ServiceRules) -> None:
        for place in before.elements.keys() | after.elements.keys():
            change.element(*place, before.elements.get(place), after.elements.get(place))
        for name in before.chains.keys() | after.chains.keys():
            change.chain(name, before.chains.get(name), after.chains.get(name))
        for name in before.sets.keys() ^ after.sets.keys():
            change.sets[name] = after.sets.get(name)
        # These stay: there are no more of them than Services differ in size.
        for name in after.shared - self._shared:
            change.chain(name, None, shared_chain(name))
            self._shared.add(name)

    def _count(self, change: Change, difference: Counter[str]) -> None:
        for key, count in difference.items():
            before = self._hairpins[key]
            self._hairpins[key] = after = before + count
            change.element(HAIRPINS, key, "" if before else None, "" if after else None)
            if not after:
                del self._hairpins[key]

    # -- addresses that several claim ------------------------------------------------------------------------------

    def _release(self, service: str, rules: ServiceRules) -> set[str]:
        before = self._services.get(service, _NOTHING)
        again: set[str] = set()
        for key in before.external.keys() - rules.external.keys():
            if self._holders.get(key) == service:
                del self._holders[key]
                again |= self._claims.pop(key, set())
        return again

    def _claimed(self, service: str, rules: ServiceRules) -> ServiceRules:
        for key in list(rules.external):
            if self._holders.setdefault(key, service) != service:
                self._claims.setdefault(key, set()).add(service)
                for place in rules.external.pop(key):
                    del rules.elements[place]
        return rules
