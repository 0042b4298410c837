"""ServiceAccount: every pod runs as an account that exists, and carries its token where clients look for it."""

from __future__ import annotations

import asyncio
from random import Random

from twinplane.controlplane.admission.contract import AdmissionRequest, ObjectReader
from twinplane.controlplane.admission.plugin import (
    Plugin,
    annotation,
    body_of,
    concerns,
    entries,
    is_mirror,
    refuse,
    spec_of,
)
from twinplane.controlplane.auth.service_account_token import WARN_AFTER
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import PODS, SERVICE_ACCOUNTS

VOLUME_PREFIX = "kube-api-access-"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_ENFORCE_MOUNTABLE = "kubernetes.io/enforce-mountable-secrets"
_WAIT = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between looks for the account `default`, which a controller makes right after its namespace."""


class ServiceAccount(Plugin):
    name = "ServiceAccount"
    by_type = True
    reads = (SERVICE_ACCOUNTS,)

    def __init__(self, reader: ObjectReader, random: Random) -> None:
        self._reader = reader
        self._random = random
        self._name = self._drawn()

    def handles(self, request: AdmissionRequest) -> bool:
        return concerns(request, PODS, "CREATE")

    async def admit(self, request: AdmissionRequest) -> None:
        pod = body_of(request)
        if is_mirror(pod):
            return
        spec = spec_of(request)
        name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        account = await self._account(request, name)
        if _mounts_token(account, spec):
            self._mount_token(spec)
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [dict(secret) for secret in account["imagePullSecrets"]]

    async def validate(self, request: AdmissionRequest) -> None:
        pod = body_of(request)
        spec = spec_of(request)
        if is_mirror(pod):
            _check_mirror(request, spec)
            return
        account = await self._account(request, spec.get("serviceAccountName") or "default")
        if annotation(account, _ENFORCE_MOUNTABLE) == "true":
            _check_mountable(request, account, spec)

    async def _account(self, request: AdmissionRequest, name: str) -> Object:
        namespace = request.namespace
        for seconds in (*(_WAIT if name == "default" else ()), None):
            account = self._reader.get(SERVICE_ACCOUNTS, name, namespace)
            if account is not None:
                return account
            if seconds is not None:
                await asyncio.sleep(seconds)
        raise refuse(request, f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found')

    def _mount_token(self, spec: Object) -> None:
        volumes = entries(spec, "volumes")
        known = {str(volume.get("name", "")) for volume in volumes}
        name = next((each for each in sorted(known) if each.startswith(VOLUME_PREFIX)), None)
        needed = False
        for container in entries(spec, "initContainers", "containers"):
            mounts = entries(container, "volumeMounts")
            if any(mount.get("mountPath") == MOUNT_PATH for mount in mounts):
                continue
            name = name or self._volume_name(known)
            needed = True
            container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}]
        if needed and name is not None and name not in known:
            spec["volumes"] = [*volumes, {"name": name, "projected": _token_projection()}]

    def _volume_name(self, taken: set[str]) -> str:
        """One that the pod does not have. Names need not differ between pods, and replicas then stay alike, so that
        what is found out about one pod's spec holds for the next.
        """
        while self._name in taken:
            self._name = self._drawn()
        return self._name

    def _drawn(self) -> str:
        return VOLUME_PREFIX + "".join(self._random.choices(_SUFFIX_LETTERS, k=5))


def _mounts_token(account: Object, spec: Object) -> bool:
    for wish in (spec.get("automountServiceAccountToken"), account.get("automountServiceAccountToken")):
        if wish is not None:
            return bool(wish)
    return True


def _token_projection() -> Object:
    return {
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": WARN_AFTER, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {
                "downwardAPI": {
                    "items": [
                        {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
                    ]
                }
            },
        ],
        "defaultMode": 420,
    }


def _check_mirror(request: AdmissionRequest, spec: Object) -> None:
    if spec.get("serviceAccountName"):
        raise refuse(request, "a mirror pod may not reference service accounts")
    for volume in entries(spec, "volumes"):
        if volume.get("secret"):
            raise refuse(request, "a mirror pod may not reference secrets")
        if any(source.get("serviceAccountToken") for source in entries(volume.get("projected") or {}, "sources")):
            raise refuse(request, "a mirror pod may not use ServiceAccountToken volume projections")


def _check_mountable(request: AdmissionRequest, account: Object, spec: Object) -> None:
    allowed = {secret.get("name") for secret in account.get("secrets") or ()}
    who = account["metadata"]["name"]
    for volume in entries(spec, "volumes"):
        secret = (volume.get("secret") or {}).get("secretName")
        if secret and secret not in allowed:
            why = f'volume with secret.secretName="{secret}" is not allowed because service account {who}'
            raise refuse(request, f"{why} does not reference that secret")
