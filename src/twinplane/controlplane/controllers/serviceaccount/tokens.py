"""Secrets of type kubernetes.io/service-account-token: filled with a token that lasts, and deleted with the account.

Nobody makes them by default any more; users do who need a token outside of a pod.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable

from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.ownership import key_of
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import annotations_of, is_deleting, name_of, namespace_of, uid_of
from twinplane.kubeclient.resources import SECRETS, SERVICE_ACCOUNTS

TYPE = "kubernetes.io/service-account-token"
ACCOUNT_NAME = "kubernetes.io/service-account.name"
ACCOUNT_UID = "kubernetes.io/service-account.uid"
BY_ACCOUNT = "service-account"

Mint = Callable[[Object, str], str]
"""(ServiceAccount, name of the Secret) -> a token that does not expire."""


class TokensController:
    """`certificate` is PEM, of the cluster."""

    name = "serviceaccount-token-controller"
    workers = 2

    def __init__(self, context: Context, mint: Mint, certificate: str) -> None:
        self._client = context.client
        self._mint = mint
        self._certificate = certificate
        self._accounts = context.informers.of(SERVICE_ACCOUNTS)
        self._secrets = context.informers.of(SECRETS)
        self._secrets.add_index(BY_ACCOUNT, _account_of)

    def watch(self, enqueue: Enqueue) -> None:
        def secret_changed(old: Object | None, new: Object | None) -> None:
            if new is not None and new.get("type") == TYPE:
                enqueue(key_of(new))

        def account_changed(old: Object | None, new: Object | None) -> None:
            body = new or old
            assert body is not None
            if old is None or new is None:
                for secret in self._secrets.by_index(BY_ACCOUNT, f"{namespace_of(body)}/{name_of(body)}"):
                    enqueue(key_of(secret))

        self._secrets.add_handler(secret_changed)
        self._accounts.add_handler(account_changed)

    async def reconcile(self, key: Key) -> float | None:
        secret = self._secrets.get(key.name, key.namespace)
        if secret is None or secret.get("type") != TYPE or is_deleting(secret):
            return None
        account = await self._account(secret)
        expected = annotations_of(secret).get(ACCOUNT_UID)
        if account is None or expected not in (None, "", uid_of(account)):
            await self._delete(secret)
            return None
        data = secret.get("data") or {}
        # Signing is not repeated: a token that is there is left as it is.
        wanted = {
            "ca.crt": _encoded(self._certificate),
            "namespace": _encoded(namespace_of(secret)),
            "token": data.get("token") or _encoded(self._mint(account, name_of(secret))),
        }
        if {**data, **wanted} == data and expected:
            return None
        annotations = {**annotations_of(secret), ACCOUNT_UID: uid_of(account)}
        metadata = {**secret["metadata"], "annotations": annotations}
        await self._client.update(SECRETS, {**secret, "metadata": metadata, "data": {**data, **wanted}})
        return None

    async def _account(self, secret: Object) -> Object | None:
        name = annotations_of(secret).get(ACCOUNT_NAME, "")
        found = self._accounts.get(name, namespace_of(secret))
        if found is not None or not name:
            return found
        try:
            # Deleting the secret of an account that the cache does not know yet would surprise who made both.
            return await self._client.get(SERVICE_ACCOUNTS, name, namespace_of(secret))
        except ApiError as error:
            if error.code != 404:
                raise
            return None

    async def _delete(self, secret: Object) -> None:
        try:
            await self._client.delete(SECRETS, name_of(secret), namespace_of(secret), uid=uid_of(secret))
        except ApiError as error:
            if error.code != 404:
                raise


def _account_of(secret: Object) -> tuple[str, ...]:
    name = annotations_of(secret).get(ACCOUNT_NAME)
    return (f"{namespace_of(secret)}/{name}",) if name and secret.get("type") == TYPE else ()


def _encoded(text: str) -> str:
    return b64encode(text.encode()).decode()
