"""The files of configMap, secret, downwardAPI and projected volumes: which they are, and what is in them.

Called by `projected`, which writes them. Each source of the table turns its part of the pod into a payload; the
messages of what is missing are upstream's, because users search for them.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from twinplane.dataplane.volumes.atomic_writer import File
from twinplane.dataplane.volumes.contract import Node, SetUpFailed
from twinplane.dataplane.volumes.downward import DownwardError, field_value, resource_value
from twinplane.dataplane.volumes.tokens import DEFAULT_SECONDS, Tokens
from twinplane.kubeclient.contract import Object, Resource
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import namespace_of
from twinplane.kubeclient.selectors import selector_of

TRUST_BUNDLES = Resource("certificates.k8s.io", "v1", "clustertrustbundles", "ClusterTrustBundle", False)
DEFAULT_MODE = 0o644
TOKEN_MODE = 0o600


@dataclass(frozen=True, slots=True)
class Context:
    node: Node
    pod: Object
    tokens: Tokens
    default_mode: int
    versions: list[str]
    """Filled in: the versions of the objects that were read, which tell whether anything has changed."""


async def config_map(context: Context, source: Mapping[str, Any]) -> dict[str, File]:
    name = str(source.get("name") or "")
    found = await _referenced(context, "configmaps", "configmap", name, source)
    if found is None:
        return {}
    data = {key: value.encode() for key, value in (found.get("data") or {}).items()}
    data |= {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}
    return _chosen(context, data, source, "configmap references non-existent config key: {}")


async def secret(context: Context, source: Mapping[str, Any]) -> dict[str, File]:
    name = str(source.get("secretName") or source.get("name") or "")
    found = await _referenced(context, "secrets", "secret", name, source)
    if found is None:
        return {}
    data = {key: base64.b64decode(value or "") for key, value in (found.get("data") or {}).items()}
    return _chosen(context, data, source, "references non-existent secret key: {}")


async def _referenced(
    context: Context, plural: str, singular: str, name: str, source: Mapping[str, Any]
) -> Object | None:
    """None for a missing object that is optional."""
    namespace = namespace_of(context.pod)
    try:
        found = await context.node.references.get(plural, namespace, name)
    except OSError as error:
        raise SetUpFailed(f"failed to sync {singular} cache: timed out waiting for the condition") from error
    context.versions.append(found["metadata"].get("resourceVersion", "") if found is not None else "-")
    if found is None and not source.get("optional"):
        raise SetUpFailed(f'{singular} "{name}" not found')
    return found


def _chosen(context: Context, data: Mapping[str, bytes], source: Mapping[str, Any], missing: str) -> dict[str, File]:
    items = source.get("items") or []
    if not items:
        return {key: File(value, context.default_mode) for key, value in data.items()}
    payload = {}
    for item in items:
        content = data.get(item["key"])
        if content is None:
            if source.get("optional"):
                continue
            raise SetUpFailed(missing.format(item["key"]))
        payload[item["path"]] = File(content, _mode(context, item))
    return payload


def _mode(context: Context, item: Mapping[str, Any]) -> int:
    mode = item.get("mode")
    return context.default_mode if mode is None else int(mode)


async def downward(context: Context, source: Mapping[str, Any]) -> dict[str, File]:
    payload = {}
    for item in source.get("items") or []:
        try:
            if item.get("fieldRef"):
                text = field_value(context.pod, item["fieldRef"]["fieldPath"])
            else:
                text = resource_value(context.pod, item["resourceFieldRef"], context.node.allocatable())
        except DownwardError as error:
            raise SetUpFailed(str(error)) from error
        payload[item["path"]] = File(text.encode(), _mode(context, item))
    return payload


async def service_account_token(context: Context, source: Mapping[str, Any]) -> dict[str, File]:
    seconds = int(source.get("expirationSeconds") or DEFAULT_SECONDS)
    try:
        token = await context.tokens.get(context.pod, str(source.get("audience") or ""), seconds)
    except (ApiError, OSError) as error:
        raise SetUpFailed(f"failed to fetch token: {error}") from error
    user = common_user(context.pod)
    grouped = (context.pod["spec"].get("securityContext") or {}).get("fsGroup") is not None
    # With a group the bits for it are added when the volume is given to the group.
    mode = TOKEN_MODE if user is not None or grouped else context.default_mode
    return {source["path"]: File(token.encode(), mode, user)}


def common_user(pod: Object) -> int | None:
    """The user that all containers run as, when they say so and are of one mind."""
    spec = pod["spec"]
    default = (spec.get("securityContext") or {}).get("runAsUser")
    kinds = ("initContainers", "containers", "ephemeralContainers")
    users: set[Any] = {
        (container.get("securityContext") or {}).get("runAsUser", default)
        for kind in kinds
        for container in spec.get(kind) or []
    }
    return int(next(iter(users))) if len(users) == 1 and None not in users else None


async def cluster_trust_bundle(context: Context, source: Mapping[str, Any]) -> dict[str, File]:
    """One bundle by name, or all of a signer that a selector chooses."""
    client = context.node.client
    name, signer = source.get("name"), source.get("signerName")
    try:
        if name:
            found = [await client.get(TRUST_BUNDLES, name)]
        else:
            listed = await client.list(TRUST_BUNDLES, field_selector=f"spec.signerName={signer}")
            selector = selector_of(source.get("labelSelector") or {})
            found = [bundle for bundle in listed.items if selector.matches(bundle["metadata"].get("labels") or {})]
    except ApiError as error:
        if error.code != 404:
            raise SetUpFailed(str(error)) from error
        found = []
    except OSError as error:
        raise SetUpFailed(str(error)) from error
    if not found and not source.get("optional"):
        subject = f'clustertrustbundle "{name}" not found' if name else f'no trust bundles for signer "{signer}"'
        raise SetUpFailed(f"unable to fetch cluster trust bundle: {subject}")
    bundles = {bundle["spec"]["trustBundle"].strip() + "\n" for bundle in found}
    context.versions.extend(sorted(bundles))
    return {source["path"]: File("".join(sorted(bundles)).encode(), context.default_mode)}


Source = Callable[[Context, Mapping[str, Any]], Awaitable[dict[str, File]]]
SOURCES: dict[str, Source] = {
    "configMap": config_map,
    "secret": secret,
    "downwardAPI": downward,
    "serviceAccountToken": service_account_token,
    "clusterTrustBundle": cluster_trust_bundle,
}
