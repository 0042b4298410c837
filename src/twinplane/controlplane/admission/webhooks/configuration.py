"""The webhooks of all configurations, compiled once per revision and kept in the order in which they are called.

Level-triggered: `Hooks.current` asks the reader for the type's revision and reads the configurations again only when it
has changed, so a write without webhooks costs one comparison.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twinplane.controlplane.admission.contract import ObjectReader
from twinplane.controlplane.admission.webhooks.conditions import MatchConditions
from twinplane.controlplane.admission.webhooks.expressions import Compiler
from twinplane.controlplane.admission.webhooks.matching import ADMISSION_GROUP, Match
from twinplane.controlplane.cel import CelError
from twinplane.kubeclient.contract import Resource
from twinplane.kubeclient.selectors import SelectorError

MUTATING = Resource(ADMISSION_GROUP, "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", False)
VALIDATING = Resource(ADMISSION_GROUP, "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", False)
REVIEW_VERSIONS = ("v1", "v1beta1")
_DEFAULT_SECONDS = 10
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hook:
    """`key` tells it from all others: configuration, webhook, and how many of that name came before."""

    configuration: str
    name: str
    key: str
    match: Match
    conditions: MatchConditions
    timeout: float
    fails_open: bool
    has_side_effects: bool
    """Also on dry runs."""
    is_reinvocable: bool
    review_version: str
    """Of AdmissionReview; empty when the webhook knows none of ours."""
    client: Mapping[str, Any]
    """The clientConfig."""


class Hooks:
    def __init__(self, reader: ObjectReader, resource: Resource, compiler: Compiler) -> None:
        self._reader = reader
        self._resource = resource
        self._compiler = compiler
        self._revision = -1
        self._hooks: tuple[Hook, ...] = ()

    def current(self) -> tuple[Hook, ...]:
        revision = self._reader.revision(self._resource)
        if revision != self._revision:
            configurations = sorted(self._reader.list(self._resource), key=lambda each: str(each["metadata"]["name"]))
            self._hooks = tuple(hook for each in configurations for hook in _hooks(each, self._compiler))
            self._revision = revision
        return self._hooks


def _hooks(configuration: Mapping[str, Any], compiler: Compiler) -> list[Hook]:
    found: list[Hook] = []
    name = configuration["metadata"]["name"]
    counts: dict[str, int] = {}
    for webhook in configuration.get("webhooks") or ():
        own = webhook.get("name", "")
        number = counts[own] = counts.get(own, -1) + 1
        try:
            found.append(_hook(name, webhook, f"{name}/{own}/{number}", compiler))
        except (CelError, SelectorError) as error:
            # Validation refuses such objects; one that got in by another way must not stop all writes.
            _log.warning("webhook %s of %s is left out: %s", own, name, error)
    return found


def _hook(configuration: str, webhook: Mapping[str, Any], key: str, compiler: Compiler) -> Hook:
    fails_open = webhook.get("failurePolicy") == "Ignore"
    offered = webhook.get("admissionReviewVersions") or ()
    return Hook(
        configuration=configuration,
        name=webhook.get("name", ""),
        key=key,
        match=Match.of(webhook, webhook.get("rules") or ()),
        conditions=MatchConditions(webhook.get("matchConditions") or (), compiler, fails_open=fails_open),
        timeout=float(webhook.get("timeoutSeconds") or _DEFAULT_SECONDS),
        fails_open=fails_open,
        has_side_effects=webhook.get("sideEffects") not in ("None", "NoneOnDryRun"),
        is_reinvocable=webhook.get("reinvocationPolicy") == "IfNeeded",
        review_version=next((version for version in offered if version in REVIEW_VERSIONS), ""),
        client=webhook.get("clientConfig") or {},
    )
