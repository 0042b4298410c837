"""ClusterRoles that are made of others (`aggregationRule`): `view`, `edit` and `admin` grow with what is installed."""

from __future__ import annotations

from typing import Any

from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import labels_of, name_of
from twinplane.kubeclient.resources import CLUSTER_ROLES
from twinplane.kubeclient.selectors import selector_of


class ClusterRoleAggregationController:
    name = "clusterrole-aggregation-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._roles = context.informers.of(CLUSTER_ROLES)
        self._roles.add_index("aggregated", lambda role: ("yes",) if role.get("aggregationRule") else ())

    def watch(self, enqueue: Enqueue) -> None:
        def changed(old: Object | None, new: Object | None) -> None:
            if old is not None and new is not None and _same(old, new):
                return
            for role in self._roles.by_index("aggregated", "yes"):
                enqueue(Key("", name_of(role)))

        self._roles.add_handler(changed)

    async def reconcile(self, key: Key) -> float | None:
        role = self._roles.get(key.name)
        if role is None or not role.get("aggregationRule"):
            return None
        rules = self._aggregated(role)
        if rules != (role.get("rules") or []):
            await self._client.update(CLUSTER_ROLES, {**role, "rules": rules})
        return None

    def _aggregated(self, role: Object) -> list[dict[str, Any]]:
        """The rules of all selected roles, by selector and then by name, each once."""
        rules: list[dict[str, Any]] = []
        for entry in role["aggregationRule"].get("clusterRoleSelectors") or []:
            selector = selector_of(entry)
            for other in sorted(self._roles.list(), key=name_of):
                if name_of(other) != name_of(role) and selector.matches(labels_of(other)):
                    rules += [rule for rule in other.get("rules") or [] if rule not in rules]
        return rules


def _same(old: Object, new: Object) -> bool:
    fields = ("rules", "aggregationRule")
    return labels_of(old) == labels_of(new) and all(old.get(field) == new.get(field) for field in fields)
