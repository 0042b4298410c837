"""IAM principal -> Kubernetes user: by access entry, by the `aws-auth` ConfigMap, or both, as the cluster's mode says.

`iam_token.IamAuthenticator` asks after STS has spoken. Where both know a principal, the access entry wins.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from twinplane.controlplane.admission.contract import ObjectReader
from twinplane.controlplane.auth.access import AccessEntries, AuthenticationMode, PolicyGrants
from twinplane.controlplane.auth.contract import AUTHENTICATED, UserInfo
from twinplane.controlplane.auth.iam_token import Identity
from twinplane.kubeclient.resources import CONFIG_MAPS

PrivateDnsName = Callable[[str], Awaitable[str | None]]
"""EC2 instance id -> private DNS name, None when there is no such instance."""

_LOG = logging.getLogger(__name__)
_INSTANCE_ID = re.compile(r"i-([0-9a-f]{8}|[0-9a-f]{17})")
_NODE_GROUPS = ("system:bootstrappers", "system:nodes")
_BY_TYPE = {
    "EC2_LINUX": ("system:node:{{EC2PrivateDNSName}}", _NODE_GROUPS),
    "EC2_WINDOWS": ("system:node:{{EC2PrivateDNSName}}", (*_NODE_GROUPS, "eks:kube-proxy-windows")),
    "FARGATE_LINUX": ("system:node:{{SessionName}}", (*_NODE_GROUPS, "system:node-proxier")),
    "EC2": ("system:node:{{EC2PrivateDNSName}}", ("system:nodes",)),
    "HYBRID_LINUX": ("system:node:{{SessionName}}", _NODE_GROUPS),
}
"""What the types of entries for nodes mean, where the entry does not say it itself."""


class Mapping(NamedTuple):
    username: str
    groups: tuple[str, ...]


class IamMapper:
    """`mode` is asked each time because UpdateClusterConfig may change it while the cluster runs."""

    def __init__(
        self,
        *,
        mode: Callable[[], Awaitable[AuthenticationMode]],
        entries: AccessEntries,
        reader: ObjectReader,
        grants: PolicyGrants,
        private_dns_name: PrivateDnsName,
    ) -> None:
        self._mode = mode
        self._entries = entries
        self._config_map = AwsAuth(reader)
        self._grants = grants
        self._private_dns_name = private_dns_name

    async def user(self, identity: Identity) -> UserInfo | None:
        mapping = await self._mapping(identity)
        if mapping is None:
            return None
        username = await self._render(mapping.username, identity)
        if username is None:
            return None
        groups = [await self._render(group, identity) for group in mapping.groups]
        named = tuple(dict.fromkeys((*(group for group in groups if group), AUTHENTICATED)))
        uid = f"aws-iam-authenticator:{identity.account_id}:{identity.user_id}"
        return UserInfo(username, named, uid, _extra(identity))

    async def _mapping(self, identity: Identity) -> Mapping | None:
        mode = await self._mode()
        entry = await self._entries.lookup(identity.canonical_arn) if mode != "CONFIG_MAP" else None
        self._grants.put(identity.canonical_arn, entry.policies if entry else ())
        if entry is not None:
            username, groups = _BY_TYPE.get(entry.type, (_default_username(identity), ()))
            return Mapping(entry.username or username, entry.groups or groups)
        return self._config_map.mapping(identity) if mode != "API" else None

    async def _render(self, template: str, identity: Identity) -> str | None:
        """None when the template asks for an instance and the session is none's."""
        if "{{" not in template:
            return template
        text = template.replace("{{AccountID}}", identity.account_id)
        text = text.replace("{{AccessKeyID}}", identity.access_key_id)
        text = text.replace("{{SessionName}}", identity.session_name.replace("@", "-"))
        text = text.replace("{{SessionNameRaw}}", identity.session_name)
        if "{{EC2PrivateDNSName}}" not in text:
            return text
        if not _INSTANCE_ID.fullmatch(identity.session_name):
            return None
        name = await self._private_dns_name(identity.session_name)
        return text.replace("{{EC2PrivateDNSName}}", name) if name else None


def _default_username(identity: Identity) -> str:
    if not identity.session_name:
        return identity.arn
    return identity.arn.rpartition("/")[0] + "/{{SessionName}}"


def _extra(identity: Identity) -> dict[str, tuple[str, ...]]:
    return {
        "accessKeyId": (identity.access_key_id,),
        "arn": (identity.arn,),
        "canonicalArn": (identity.canonical_arn,),
        "principalId": (identity.user_id,),
        "sessionName": (identity.session_name,),
        "sigs.k8s.io/aws-iam-authenticator/principalId": (identity.user_id,),
    }


class AwsAuth:
    """The `aws-auth` ConfigMap in kube-system, parsed once for each of its versions."""

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader
        self._parsed: tuple[str, dict[str, Mapping], frozenset[str]] = ("", {}, frozenset())

    def mapping(self, identity: Identity) -> Mapping | None:
        config_map = self._reader.get(CONFIG_MAPS, "aws-auth", "kube-system")
        if config_map is None:
            return None
        metadata = config_map.get("metadata", {})
        version = f"{metadata.get('uid')}/{metadata.get('resourceVersion')}"
        if self._parsed[0] != version:
            self._parsed = (version, *_parse_aws_auth(config_map.get("data") or {}))
        _, by_arn, accounts = self._parsed
        found = by_arn.get(identity.canonical_arn.lower())
        if found is None and identity.account_id in accounts:
            return Mapping(identity.canonical_arn, ())
        return found


def _parse_aws_auth(data: dict[str, str]) -> tuple[dict[str, Mapping], frozenset[str]]:
    by_arn: dict[str, Mapping] = {}
    for key, field in (("mapUsers", "userarn"), ("mapRoles", "rolearn")):
        for entry in _yaml_list(data, key):
            if isinstance(entry, dict) and isinstance(entry.get(field), str):
                groups = entry.get("groups")
                names = tuple(str(group) for group in groups) if isinstance(groups, list) else ()
                by_arn[entry[field].lower()] = Mapping(str(entry.get("username") or entry[field]), names)
    return by_arn, frozenset(str(account) for account in _yaml_list(data, "mapAccounts"))


def _yaml_list(data: dict[str, str], key: str) -> list[Any]:
    import yaml

    try:
        # BaseLoader keeps account numbers as text: YAML would read 012345678901 as an octal number.
        loaded = yaml.load(data.get(key) or "[]", Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        _LOG.warning("aws-auth: %s cannot be parsed: %s", key, error)
        return []
    return loaded if isinstance(loaded, list) else []
