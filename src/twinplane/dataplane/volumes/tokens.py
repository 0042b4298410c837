"""Service-account tokens for projected volumes: asked of the API server for one pod, renewed at 80% of their life."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from twinplane.clock import Clock
from twinplane.kubeclient.contract import KubeClient, Object
from twinplane.kubeclient.meta import name_of, namespace_of, time_of, uid_of
from twinplane.kubeclient.resources import SERVICE_ACCOUNTS

DEFAULT_SECONDS = 3600
LIFE_MAX = 24 * 3600.0
"""A token is renewed after a day however long it would be valid."""
RENEW_AT = 0.8


class Token(NamedTuple):
    value: str
    issued: float
    expires: float

    def is_stale(self, now: float) -> bool:
        return now >= self.issued + min((self.expires - self.issued) * RENEW_AT, LIFE_MAX)


Wanted = tuple[str, int]
"""Audience, seconds."""


class Tokens:
    """Kept in `directory`, readable by root alone, so that a node that restarts while the API server is away can bring
    its pods back."""

    def __init__(self, client: KubeClient, clock: Clock, directory: Path) -> None:
        self._client = client
        self._clock = clock
        self._directory = directory
        self._held: dict[str, dict[Wanted, Token]] = {}
        """By pod uid."""

    async def get(self, pod: Object, audience: str, seconds: int) -> str:
        """A new one when the old is due; while the API server is away the old one, whatever its age.

        Raises `ApiError`, or OSError when there is no answer and no old token.
        """
        tokens = self._of(uid_of(pod))
        held = tokens.get((audience, seconds))
        if held is None or held.is_stale(self._clock.now()):
            try:
                held = tokens[audience, seconds] = await self._request(pod, audience, seconds)
            except OSError:
                if held is None:
                    raise
            else:
                self._keep(uid_of(pod), tokens)
        return held.value

    def _of(self, uid: str) -> dict[Wanted, Token]:
        if uid not in self._held:
            try:
                stored = json.loads((self._directory / uid).read_text())
            except (OSError, ValueError):
                stored = []
            self._held[uid] = {(audience, seconds): Token(*token) for audience, seconds, token in stored}
        return self._held[uid]

    def _keep(self, uid: str, tokens: dict[Wanted, Token]) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self._directory / f".{uid}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump([[*wanted, token] for wanted, token in tokens.items()], file)
        temporary.rename(self._directory / uid)

    async def _request(self, pod: Object, audience: str, seconds: int) -> Token:
        bound = {"apiVersion": "v1", "kind": "Pod", "name": name_of(pod), "uid": uid_of(pod)}
        spec = {"audiences": [audience] if audience else [], "expirationSeconds": seconds, "boundObjectRef": bound}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        account = pod["spec"].get("serviceAccountName") or "default"
        answer = await self._client.create(SERVICE_ACCOUNTS, body, namespace_of(pod), name=account, subresource="token")
        status = answer["status"]
        return Token(status["token"], self._clock.now(), time_of(status["expirationTimestamp"]))

    def forget(self, uid: str) -> None:
        self._held.pop(uid, None)
        (self._directory / uid).unlink(missing_ok=True)
