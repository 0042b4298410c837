"""What every namespace gets: the ServiceAccount `default`, and the ConfigMap with the cluster's root certificate."""

from __future__ import annotations

from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.ownership import key_of
from twinplane.controlplane.controllers.podcontrol import is_namespace_terminating
from twinplane.kubeclient.contract import KubeClient, Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.informer_contract import Handler
from twinplane.kubeclient.meta import is_deleting, name_of, namespace_of
from twinplane.kubeclient.resources import CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS

DEFAULT_ACCOUNT = "default"
ROOT_CERTIFICATE = "kube-root-ca.crt"
_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


class ServiceAccountController:
    name = "serviceaccount-controller"
    workers = 2

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._namespaces = context.informers.of(NAMESPACES)
        self._accounts = context.informers.of(SERVICE_ACCOUNTS)

    def watch(self, enqueue: Enqueue) -> None:
        self._namespaces.add_handler(_namespace_handler(enqueue))
        self._accounts.add_handler(_loss_handler(enqueue, DEFAULT_ACCOUNT))

    async def reconcile(self, key: Key) -> float | None:
        if not _is_active(self._namespaces.get(key.name)) or self._accounts.get(DEFAULT_ACCOUNT, key.name):
            return None
        account: Object = {"metadata": {"name": DEFAULT_ACCOUNT, "namespace": key.name}}
        await _create_if_absent(self._client, SERVICE_ACCOUNTS, account)
        return None


class RootCertificatePublisher:
    """`certificate` is PEM."""

    name = "root-ca-certificate-publisher-controller"
    workers = 2

    def __init__(self, context: Context, certificate: str) -> None:
        self._client = context.client
        self._certificate = certificate
        self._namespaces = context.informers.of(NAMESPACES)
        self._config_maps = context.informers.of(CONFIG_MAPS)

    def watch(self, enqueue: Enqueue) -> None:
        self._namespaces.add_handler(_namespace_handler(enqueue))

        def changed(old: Object | None, new: Object | None) -> None:
            body = new or old
            if body is not None and name_of(body) == ROOT_CERTIFICATE:
                enqueue(Key("", namespace_of(body)))

        self._config_maps.add_handler(changed)

    async def reconcile(self, key: Key) -> float | None:
        if not _is_active(self._namespaces.get(key.name)):
            return None
        data = {"ca.crt": self._certificate}
        existing = self._config_maps.get(ROOT_CERTIFICATE, key.name)
        if existing is None:
            metadata = {
                "name": ROOT_CERTIFICATE,
                "namespace": key.name,
                "annotations": {"kubernetes.io/description": _DESCRIPTION},
            }
            body: Object = {"metadata": metadata, "data": data}
            await _create_if_absent(self._client, CONFIG_MAPS, body)
        elif existing.get("data") != data:
            await self._client.update(CONFIG_MAPS, {**existing, "data": data})
        return None


def _namespace_handler(enqueue: Enqueue) -> Handler:
    def changed(old: Object | None, new: Object | None) -> None:
        if new is not None:
            enqueue(key_of(new))

    return changed


def _loss_handler(enqueue: Enqueue, name: str) -> Handler:
    """Enqueue the namespace whose object of that name was deleted."""

    def changed(old: Object | None, new: Object | None) -> None:
        if new is None and old is not None and name_of(old) == name:
            enqueue(Key("", namespace_of(old)))

    return changed


def _is_active(namespace: Object | None) -> bool:
    return namespace is not None and not is_deleting(namespace)


async def _create_if_absent(client: KubeClient, resource: Resource, body: Object) -> None:
    """The cache may be behind, and the namespace may go away meanwhile: neither is a failure."""
    try:
        await client.create(resource, body, namespace_of(body))
    except ApiError as error:
        if error.reason != "AlreadyExists" and not is_namespace_terminating(error) and error.code != 404:
            raise
