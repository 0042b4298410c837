"""Tokens in Secrets that were made for accounts in old times: since when their use is noted, and what nobody uses goes.

The API server labels a Secret with the day when its token was last used. One that was made on its own (its account
names it), that no pod mounts and that was not used for a year is first marked invalid, and deleted a year later. What
people made themselves stays. Upstream: `legacytokentracking` and `legacy_serviceaccount_token_cleaner.go`.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from twinplane.controlplane.auth.legacy_token_use import INVALID_SINCE, LAST_USED
from twinplane.controlplane.auth.node_references import pod_references
from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.serviceaccount.tokens import ACCOUNT_NAME, ACCOUNT_UID, TYPE
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import annotations_of, is_deleting, labels_of, name_of, namespace_of, uid_of
from twinplane.kubeclient.resources import CONFIG_MAPS, PODS, SECRETS, SERVICE_ACCOUNTS

TRACKING = "kube-apiserver-legacy-service-account-token-tracking"
NAMESPACE = "kube-system"
SINCE = "since"
CLEAN_UP_PERIOD = timedelta(days=365)
SYNC_SECONDS = 86_400.0


class LegacyTokenTracking:
    """Keeps the ConfigMap that says since when the use of tokens is noted."""

    name = "legacy-service-account-token-tracking-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._config_maps = context.informers.of(CONFIG_MAPS)

    def watch(self, enqueue: Enqueue) -> None:
        def changed(old: Object | None, new: Object | None) -> None:
            body = new or old
            if body is not None and (namespace_of(body), name_of(body)) == (NAMESPACE, TRACKING):
                enqueue(Key(NAMESPACE, TRACKING))

        self._config_maps.add_handler(changed)
        enqueue(Key(NAMESPACE, TRACKING))

    async def reconcile(self, key: Key) -> float | None:
        present = self._config_maps.get(TRACKING, NAMESPACE)
        if present is not None and _day((present.get("data") or {}).get(SINCE)) is not None:
            return None
        data = {**((present or {}).get("data") or {}), SINCE: _today(self._clock.now()).isoformat()}
        try:
            if present is None:
                await self._client.create(CONFIG_MAPS, {"metadata": {"name": TRACKING}, "data": data}, NAMESPACE)
            else:
                await self._client.update(CONFIG_MAPS, {**present, "data": data})
        except ApiError as error:
            if error.reason not in ("AlreadyExists", "Conflict", "NotFound"):
                raise
        return None


class LegacyTokenCleaner:
    name = "legacy-serviceaccount-token-cleaner-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._secrets = context.informers.of(SECRETS)
        self._accounts = context.informers.of(SERVICE_ACCOUNTS)
        self._pods = context.informers.of(PODS)
        self._config_maps = context.informers.of(CONFIG_MAPS)

    def watch(self, enqueue: Enqueue) -> None:
        enqueue(Key("", self.name))

    async def reconcile(self, key: Key) -> float | None:
        tracking = self._config_maps.get(TRACKING, NAMESPACE) or {}
        since, today = _day((tracking.get("data") or {}).get(SINCE)), _today(self._clock.now())
        if since is None or today < since + timedelta(days=1) + CLEAN_UP_PERIOD:
            return SYNC_SECONDS
        limit = today - CLEAN_UP_PERIOD
        for secret in self._secrets.list():
            if secret.get("type") == TYPE and self._is_unused(secret, limit):
                await self._retire(secret, today, limit)
        return SYNC_SECONDS

    def _is_unused(self, secret: Object, limit: date) -> bool:
        created = datetime.fromisoformat(secret["metadata"]["creationTimestamp"]).date()
        last_used = labels_of(secret).get(LAST_USED)
        if is_deleting(secret) or created >= limit:
            return False
        if last_used is not None:
            day = _day(last_used)
            if day is None or day >= limit:
                return False
        return self._is_generated(secret) and not self._is_mounted(secret)

    def _is_generated(self, secret: Object) -> bool:
        """Those that people make are not named by the account."""
        annotations = annotations_of(secret)
        account = self._accounts.get(annotations.get(ACCOUNT_NAME, ""), namespace_of(secret))
        if account is None or annotations.get(ACCOUNT_UID, "") not in ("", uid_of(account)):
            return False
        return any(each.get("name") == name_of(secret) for each in account.get("secrets") or ())

    def _is_mounted(self, secret: Object) -> bool:
        wanted = ("secrets", name_of(secret))
        return any(wanted in pod_references(pod) for pod in self._pods.list(namespace_of(secret)))

    async def _retire(self, secret: Object, today: date, limit: date) -> None:
        name, namespace = name_of(secret), namespace_of(secret)
        invalid_since = _day(labels_of(secret).get(INVALID_SINCE))
        try:
            if invalid_since is None:
                metadata = {"uid": uid_of(secret), "labels": {INVALID_SINCE: today.isoformat()}}
                await self._client.patch(SECRETS, name, {"metadata": metadata}, namespace)
            elif invalid_since < limit:
                version = secret["metadata"]["resourceVersion"]
                await self._client.delete(SECRETS, name, namespace, resource_version=version)
        except ApiError as error:
            if error.reason not in ("Conflict", "NotFound"):
                raise


def _today(now: float) -> date:
    return datetime.fromtimestamp(now, UTC).date()


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        return None
