"""MutatingAdmissionWebhook: one after the other by name, each seeing what those before it have made of the object.

A webhook that changes the object asks for a second look (`Reinvocation`): the server then runs all mutating plugins
once more, and of the webhooks those that were called before the change and whose reinvocationPolicy is IfNeeded.
"""

from __future__ import annotations

import base64
import binascii
import json

import orjson

from twinplane.controlplane.admission.contract import AdmissionRequest
from twinplane.controlplane.admission.plugin import Plugin
from twinplane.controlplane.admission.webhooks import refusals
from twinplane.controlplane.admission.webhooks.attributes import Attributes
from twinplane.controlplane.admission.webhooks.configuration import MUTATING, Hook, Hooks
from twinplane.controlplane.admission.webhooks.dispatch import Webhooks
from twinplane.controlplane.api.patch import json_patch
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError
from twinplane.kubeclient.meta import copied

_PREFIX = "webhook.admission.k8s.io"


class Rounds:
    """Who is called again: upstream's webhookReinvokeContext, over the sets that the request carries for a plugin."""

    def __init__(self, plugin: str, request: AdmissionRequest) -> None:
        self._context = request.reinvocation
        self._request = request
        self._plugin = plugin
        self._previous = self._context.previous.setdefault(plugin, set())
        self._again = self._context.again.setdefault(plugin, set())

    @property
    def number(self) -> int:
        return 1 if self._context.running else 0

    def begin(self) -> None:
        """In the second round: everyone before is called again when somebody else changed the object since."""
        if self._context.running and self._request.object != self._context.seen.get(self._plugin):
            self._require()

    def skips(self, key: str) -> bool:
        return self._context.running and key not in self._again

    def changed(self) -> None:
        self._require()
        self._context.wanted = True

    def called(self, key: str, *, is_reinvocable: bool) -> None:
        if is_reinvocable:
            self._previous.add(key)

    def end(self) -> None:
        if self._previous and self._request.object is not None:
            self._context.seen[self._plugin] = copied(self._request.object)

    def _require(self) -> None:
        self._again |= self._previous
        self._previous.clear()


class MutatingAdmissionWebhook(Plugin):
    name = "MutatingAdmissionWebhook"
    waits_for = (MUTATING,)
    precedes_naming = True

    def __init__(self, parts: Webhooks) -> None:
        self._hooks = Hooks(parts.reader, MUTATING, parts.compiler)
        self._dispatcher = parts.dispatcher(mutating=True)

    def handles(self, request: AdmissionRequest) -> bool:
        return bool(self._hooks.current())

    async def admit(self, request: AdmissionRequest) -> None:
        rounds = Rounds(self.name, request)
        rounds.begin()
        for index, hook in enumerate(self._hooks.current()):
            attributes = self._dispatcher.attributes(hook, request)
            if attributes is None or rounds.skips(hook.key):
                continue
            place = f"round_{rounds.number}_index_{index}"
            response = await self._dispatcher.call(hook, attributes, f"mutation.{_PREFIX}/{place}")
            changed = response is not None and self._apply(hook, attributes, response, place)
            if response is not None:
                self._annotate(hook, request, place, changed=changed)
            if changed:
                rounds.changed()
            rounds.called(hook.key, is_reinvocable=hook.is_reinvocable)
        rounds.end()

    def _apply(self, hook: Hook, attributes: Attributes, response: Object, place: str) -> bool:
        """Raises `ApiError` InternalError for a patch that is none or does not apply."""
        if not response.get("patch") or attributes.object is None:
            return False
        if response.get("patchType", "JSONPatch") != "JSONPatch":
            raise refusals.failed(hook, f"unsupported patch type {json.dumps(response['patchType'])}")
        try:
            operations = orjson.loads(base64.b64decode(response["patch"], validate=True))
            if operations == []:
                return False
            patched = json_patch.apply(attributes.object, operations)
            if not isinstance(patched, dict):
                raise refusals.internal("the patch of the webhook does not leave an object")
            changed = self._dispatcher.versions.put_back(attributes, patched)
        except (binascii.Error, orjson.JSONDecodeError) as error:
            raise refusals.internal(str(error)) from None
        except ApiError as error:
            if error.code >= 500:
                raise
            raise refusals.internal(str(error.__cause__ or error.message)) from None
        if changed:
            patch = {"configuration": hook.configuration, "webhook": hook.name, "patch": operations}
            shown = orjson.dumps({**patch, "patchType": "JSONPatch"}).decode()
            attributes.request.annotations[f"patch.{_PREFIX}/{place}"] = shown
        return changed

    def _annotate(self, hook: Hook, request: AdmissionRequest, place: str, *, changed: bool) -> None:
        shown = {"configuration": hook.configuration, "webhook": hook.name, "mutated": changed}
        request.annotations[f"mutation.{_PREFIX}/{place}"] = orjson.dumps(shown).decode()
