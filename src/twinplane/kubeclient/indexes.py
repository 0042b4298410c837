"""The indexes that more than one reader needs, and how to ask them.

An event about one pod must lead to its ReplicaSet, its Services and its budgets without a look at all the others: pods
are found by owner, by node and by label, and selectors are found by one of the labels that they require.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.informer_contract import Informer
from twinplane.kubeclient.meta import controller_of, labels_of, name_of, namespace_of
from twinplane.kubeclient.selectors import selector_of

BY_CONTROLLER = "controller"
BY_LABEL = "label"
BY_NODE = "node"
BY_SELECTOR = "selector"
ORPHANS = "orphans"


def by_controller(body: Object) -> Iterable[str]:
    """The uid of the controlling owner."""
    owner = controller_of(body)
    return (owner["uid"],) if owner else ()


def orphans(body: Object) -> Iterable[str]:
    """The namespace of an object that nobody controls."""
    return () if controller_of(body) else (namespace_of(body),)


def by_node(body: Object) -> Iterable[str]:
    """The node that a pod is bound to; the empty string for none."""
    return (body["spec"].get("nodeName", ""),)


def by_label(body: Object) -> Iterable[str]:
    """`namespace/key=value` of each label."""
    namespace = namespace_of(body)
    return [f"{namespace}/{key}={value}" for key, value in labels_of(body).items()]


def add_controller_indexes(informer: Informer) -> None:
    informer.add_index(BY_CONTROLLER, by_controller)
    informer.add_index(ORPHANS, orphans)


def controlled(informer: Informer, owner: Object) -> list[Object]:
    """Needs `add_controller_indexes`."""
    return informer.by_index(BY_CONTROLLER, owner["metadata"]["uid"])


def required_labels(selector: Mapping[str, Any] | None) -> dict[str, tuple[str, ...]]:
    """Label key -> the values of which a metav1.LabelSelector requires one."""
    selector = selector or {}
    required: dict[str, tuple[str, ...]] = {key: (value,) for key, value in (selector.get("matchLabels") or {}).items()}
    for expression in selector.get("matchExpressions") or []:
        if expression["operator"] == "In":
            required.setdefault(expression["key"], tuple(expression["values"]))
    return required


def selected(informer: Informer, namespace: str, selector: Mapping[str, Any] | None) -> list[Object]:
    """The objects of a namespace that a metav1.LabelSelector matches (an empty one matches all, None matches none)."""
    if selector is None:
        return []
    parsed = selector_of(selector)
    return [body for body in candidates(informer, namespace, selector) if parsed.matches(labels_of(body))]


def candidates(informer: Informer, namespace: str, selector: Mapping[str, Any]) -> list[Object]:
    """Those that may match, by one of the labels that the selector requires."""
    required = required_labels(selector)
    if not required:
        return informer.list(namespace)
    informer.add_index(BY_LABEL, by_label)
    # The last label of a selector tends to be the most specific one (pod-template-hash, controller-uid).
    key = max(required)
    values = dict.fromkeys(required[key])
    return [body for value in values for body in informer.by_index(BY_LABEL, f"{namespace}/{key}={value}")]


def selector_index(body: Object, selector: Mapping[str, Any] | None) -> Iterable[str]:
    """Where an object that selects pods is filed: under one label it requires, or under its namespace alone."""
    namespace = namespace_of(body)
    required = required_labels(selector)
    if not required:
        return (f"{namespace}/",)
    key = min(required)
    return [f"{namespace}/{key}={value}" for value in required[key]]


def selecting(informer: Informer, body: Object) -> list[Object]:
    """Candidates filed by `selector_index` under `BY_SELECTOR` that may select `body`; the caller checks each."""
    namespace = namespace_of(body)
    values = [f"{namespace}/", *(f"{namespace}/{key}={value}" for key, value in labels_of(body).items())]
    found = {name_of(entry): entry for value in values for entry in informer.by_index(BY_SELECTOR, value)}
    return list(found.values())
