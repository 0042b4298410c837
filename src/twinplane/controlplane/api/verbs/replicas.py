"""Pods made from one template: what admission and validation made of the first one holds for the next.

A ReplicaSet of a thousand sends a thousand times the same bytes, others the same bytes but for the name. Name, uid and
time apart, the API server makes the same of them each time, as long as nothing changed that its rules and plugins look
at (`Plugin.reads`). So the prepared pod is remembered together with the state that it was prepared in, and the next one
shares its spec. `create` asks.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import NamedTuple

import orjson

from twinplane.controlplane.api.options import WriteOptions
from twinplane.controlplane.api.runtime import Call
from twinplane.controlplane.api.types.validation.names import dns_label
from twinplane.controlplane.api.verbs.admission import Admission
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.resources import PODS

TEMPLATES = 256
"""Of the pods that were made lately."""
_OWN = frozenset(("name", "uid", "creationTimestamp", "managedFields"))
"""Of metadata, what each pod has for itself."""


class Asked(NamedTuple):
    """Equal keys ask for equal pods; `name` is empty when it is to be generated."""

    key: Hashable
    name: str


class Template(NamedTuple):
    pod: Object
    """Shared by all that are made of it: never changed."""
    state: Hashable
    annotations: dict[str, str]
    """What admission had to say to the audit log."""


def asked_for(call: Call, options: WriteOptions) -> Asked | None:
    """None where nothing is remembered."""
    if call.stored.resource != PODS or options.dry_run:
        return None
    body = call.request.body
    content_type = call.request.headers.get("content-type", "")
    name = "" if b'"generateName"' in body else _plain_name(body)
    if name is None:
        return None
    if name:
        body = body.replace(_quoted(name), b"", 1)
    user = call.user
    extra = tuple(sorted((key, tuple(values)) for key, values in user.extra.items()))
    who = (user.name, user.groups, user.uid, extra)
    return Asked((body, content_type, call.namespace, options, who, bool(name)), name)


def _plain_name(body: bytes) -> str | None:
    """Of a pod in JSON, when it is what all rules agree with and stands nowhere else in there; otherwise None."""
    try:
        name = orjson.loads(body)["metadata"]["name"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    if not isinstance(name, str) or dns_label(name) or b"\\" in body or body.count(_quoted(name)) != 1:
        return None
    return name


def _quoted(name: str) -> bytes:
    return b'"%s"' % name.encode()


def comes_again(call: Call, asked: Asked) -> bool:
    """Whether it is worth to remember what is made of it: of named pods, most are like no other."""
    templates = call.runtime.templates
    if not asked.name or asked.key in templates:
        return True
    _keep(call, asked.key, None)
    return False


def _keep(call: Call, key: Hashable, template: Template | None) -> None:
    templates = call.runtime.templates
    templates[key] = template
    if len(templates) > TEMPLATES:
        templates.popitem(last=False)


async def state_of(call: Call, pod: Object, options: WriteOptions) -> Hashable | None:
    """All that the preparation of `pod` depends on besides itself; None when that cannot be said."""
    admission = Admission(call, "CREATE", pod, None, options.body(), dry_run=False)
    state = await admission.state()
    return None if state is None else (call.runtime.registry.generation, state)


async def prepared(call: Call, key: Hashable, options: WriteOptions, now: str) -> Object | None:
    """Another pod of a template that is still good, without name and uid."""
    template = call.runtime.templates.get(key)
    if template is None or await state_of(call, template.pod, options) != template.state:
        return None
    call.runtime.templates.move_to_end(key)
    call.annotations.update(template.annotations)
    metadata = {**template.pod["metadata"], "creationTimestamp": now}
    metadata["managedFields"] = [{**entry, "time": now} for entry in metadata["managedFields"]]
    return {**template.pod, "metadata": metadata}


def remember(call: Call, key: Hashable, pod: Object, state: Hashable, before: Collection[str]) -> None:
    """A pod that was just prepared, with what it says of the audit log beside the annotations `before`."""
    entries = pod["metadata"].get("managedFields") or []
    if len(entries) != 1 or entries[0].get("time") != pod["metadata"]["creationTimestamp"]:
        return
    metadata = {name: value for name, value in pod["metadata"].items() if name not in _OWN}
    metadata["managedFields"] = entries
    annotations = {name: value for name, value in call.annotations.items() if name not in before}
    _keep(call, key, Template({**pod, "metadata": metadata}, state, annotations))
