"""A metadata request of an instance to its answer: versions, tokens, hop limit. Called by `server`; no sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from twinplane.clock import Clock
from twinplane.cloud.contract import AwsCredentials, Instance
from twinplane.cloud.imds.facts import Facts
from twinplane.cloud.imds.tokens import SECONDS_MAX, SECONDS_MIN, Tokens
from twinplane.cloud.imds.tree import VERSIONS, lookup, tree_of

TOKEN = "x-aws-ec2-metadata-token"
TTL = "x-aws-ec2-metadata-token-ttl-seconds"
CREDENTIAL_SECONDS = 6 * 3600
RENEWED_BEFORE = 3600.0
"""EC2 shows new credentials well before the old ones expire."""

ReadFacts = Callable[[Instance], Facts | None]
"""Blocks: called in a thread."""
IssueRole = Callable[[str, str, float], AwsCredentials]
"""(role, session name, expiration) -> credentials."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """An answer; `hops` limits how far it travels, for the answer to PUT."""

    status: int
    body: str = ""
    content_type: str = "text/plain"
    headers: tuple[tuple[str, str], ...] = ()
    hops: int | None = None


class MetadataService:
    def __init__(self, read: ReadFacts, issue: IssueRole, secret: bytes, clock: Clock) -> None:
        self._read = read
        self._issue = issue
        self._tokens = Tokens(secret)
        self._clock = clock
        self._facts: dict[str, Facts] = {}
        self._credentials: dict[tuple[str, str], tuple[float, Mapping[str, str]]] = {}

    def forget(self) -> None:
        """After a change of the account: facts are read again when they are next asked for."""
        self._facts.clear()

    async def answer(self, instance: Instance, method: str, path: str, headers: Mapping[str, str]) -> Metadata:
        """`headers` with names in lower case."""
        facts = await self._facts_of(instance)
        if facts is None:
            return Metadata(404)
        if not facts.enabled:
            return Metadata(403)
        version, _, rest = path.strip("/").partition("/")
        if method == "PUT" and (version, rest) == ("latest", "api/token"):
            return self._token(facts, headers)
        if method not in ("GET", "HEAD"):
            return Metadata(405)
        return self._get(facts, version, rest, headers.get(TOKEN))

    async def _facts_of(self, instance: Instance) -> Facts | None:
        known = self._facts.get(instance.instance_id)
        if known is None:
            known = await asyncio.to_thread(self._read, instance)
            if known is not None:
                self._facts[instance.instance_id] = known
        return known

    def _token(self, facts: Facts, headers: Mapping[str, str]) -> Metadata:
        if "x-forwarded-for" in headers:
            # An open proxy in front of the instance must not hand out tokens.
            return Metadata(403)
        seconds = headers.get(TTL, "")
        if not seconds.isdigit() or not SECONDS_MIN <= int(seconds) <= SECONDS_MAX:
            return Metadata(400)
        token = self._tokens.issue(facts.instance_id, self._clock.now() + int(seconds))
        return Metadata(200, token, headers=((TTL, seconds),), hops=facts.hop_limit)

    def _get(self, facts: Facts, version: str, rest: str, token: str | None) -> Metadata:
        valid = token is not None and self._tokens.valid(token, facts.instance_id, self._clock.now())
        if not valid and (facts.tokens_required or token is not None):
            return Metadata(401)
        if not version:
            return Metadata(200, "\n".join(VERSIONS))
        if version not in VERSIONS:
            return Metadata(404)
        found = lookup(tree_of(facts, self._role_credentials(facts)), rest)
        if found is None:
            return Metadata(404)
        return Metadata(200, found, "application/json" if rest.endswith("/document") else "text/plain")

    def _role_credentials(self, facts: Facts) -> Mapping[str, str] | None:
        if not facts.role:
            return None
        key, now = (facts.instance_id, facts.role), self._clock.now()
        kept = self._credentials.get(key)
        if kept is None or kept[0] - now < RENEWED_BEFORE:
            expiration = float(int(now) + CREDENTIAL_SECONDS)
            issued = self._issue(facts.role, facts.instance_id, expiration)
            kept = self._credentials[key] = (expiration, _worded(issued, now, expiration))
        return kept[1]


def _worded(credentials: AwsCredentials, now: float, expiration: float) -> Mapping[str, str]:
    return {
        "Code": "Success",
        "LastUpdated": _stamp(now),
        "Type": "AWS-HMAC",
        "AccessKeyId": credentials.access_key_id,
        "SecretAccessKey": credentials.secret_access_key,
        "Token": credentials.session_token,
        "Expiration": _stamp(expiration),
    }


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
