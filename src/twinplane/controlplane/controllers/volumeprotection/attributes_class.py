"""Keeps VolumeAttributesClasses that claims or volumes name from being deleted, by the finalizer that they carry.

The finalizer itself is set by admission. Only for versions of Kubernetes that serve the type.
"""

from __future__ import annotations

from twinplane.controlplane.admission.quota_usage import attributes_classes_of
from twinplane.controlplane.controllers.contract import Context, Enqueue, Key
from twinplane.controlplane.controllers.volumeprotection.controller import write_finalizers
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.meta import finalizers_of, is_deleting, name_of
from twinplane.kubeclient.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, VOLUME_ATTRIBUTES_CLASSES

FINALIZER = "kubernetes.io/vac-protection"
BY_CLASS = "volumeAttributesClass"


class AttributesClassProtectionController:
    name = "volumeattributesclass-protection-controller"
    workers = 1

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._classes = context.informers.of(VOLUME_ATTRIBUTES_CLASSES)
        self._users = [context.informers.of(resource) for resource in (PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES)]
        for informer in self._users:
            informer.add_index(BY_CLASS, attributes_classes_of)

    def watch(self, enqueue: Enqueue) -> None:
        def class_changed(old: Object | None, new: Object | None) -> None:
            if new is not None and is_deleting(new):
                enqueue(Key("", name_of(new)))

        def user_changed(old: Object | None, new: Object | None) -> None:
            """Whom it no longer names may go."""
            kept = attributes_classes_of(new) if new is not None else set()
            for name in attributes_classes_of(old) if old is not None else ():
                if name not in kept:
                    enqueue(Key("", name))

        self._classes.add_handler(class_changed)
        for informer in self._users:
            informer.add_handler(user_changed)

    async def reconcile(self, key: Key) -> float | None:
        body = self._classes.get(key.name)
        if body is None or not is_deleting(body) or FINALIZER not in finalizers_of(body):
            return None
        if not any(informer.by_index(BY_CLASS, key.name) for informer in self._users):
            kept = [entry for entry in finalizers_of(body) if entry != FINALIZER]
            await write_finalizers(self._client, VOLUME_ATTRIBUTES_CLASSES, body, kept)
        return None
