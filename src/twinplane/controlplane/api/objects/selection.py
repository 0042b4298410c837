"""Which objects of one type a list, a watch or a deletecollection is about: scope, label selector, field selector.

Built once per request. The equalities in it (`metadata.name=x`, `spec.nodeName=y`, `app=z`) are picked out so that the
collection and the watch hub can go to the few objects or watchers concerned instead of asking everyone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twinplane.controlplane.api.objects.entry import Entry
from twinplane.controlplane.api.selectors import FieldRequirement, parse_field_selector, parse_label_selector
from twinplane.controlplane.api.types.contract import ResourceType
from twinplane.kubeclient.errors import bad_request

NODE_NAME = "spec.nodeName"
_NAME = "metadata.name"
_NAMESPACE = "metadata.namespace"
_OF_METADATA = (_NAME, _NAMESPACE)
_STORED_NAMES = {"reportingController": "reportingComponent"}

Matches = Callable[[Entry], bool]


@dataclass(frozen=True)
class Selection:
    """`namespace` is empty for all namespaces; `name` and `node` are None where nothing pins them."""

    namespace: str = ""
    name: str | None = None
    node: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    """The equalities of the label selector."""
    tests: tuple[Matches, ...] = ()
    """What is left to ask of each candidate; the namespace is not among it."""
    text: tuple[str, str] = ("", "")
    """Label and field selector as given: equal texts select alike."""
    shown: tuple[FieldRequirement, ...] = ()
    """What only the version asked for can answer, which a webhook makes of the stored one; `tests` leaves it out."""

    @property
    def chooses(self) -> bool:
        """Whether it may leave out objects of the namespace."""
        return bool(self.tests or self.shown)

    def matches(self, entry: Entry) -> bool:
        """`entry` is already known to lie in the namespace."""
        return all(test(entry) for test in self.tests)

    def covers(self, entry: Entry) -> bool:
        return self.namespace in ("", entry.namespace) and self.matches(entry)


def select(type: ResourceType, namespace: str, label_selector: str, field_selector: str) -> Selection:
    """Raises BadRequest for selectors that cannot be parsed and fields that the type does not offer."""
    if not label_selector and not field_selector:
        return Selection(namespace)
    tests: list[Matches] = []
    exact_labels: tuple[tuple[str, str], ...] = ()
    pinned: dict[str, str] = {}
    shown: list[FieldRequirement] = []
    if label_selector:
        labels = parse_label_selector(label_selector)
        tests.append(lambda entry: labels.matches(entry.labels))
        exact_labels = tuple(labels.exact.items())
    if field_selector:
        fields = parse_field_selector(field_selector)
        pinned = fields.exact
        for requirement in fields.requirements:
            field, operator, value = requirement
            _check_supported(type, field)
            if "converter" in type.extra and field not in _OF_METADATA:
                shown.append(requirement)
            else:
                tests.append(_field_test(_stored_name(type, field), value, operator == "="))
    return Selection(
        namespace or pinned.get(_NAMESPACE, ""),
        pinned.get(_NAME),
        pinned.get(NODE_NAME),
        exact_labels,
        tuple(tests),
        (label_selector, field_selector),
        tuple(shown),
    )


def _stored_name(type: ResourceType, field: str) -> str:
    """Objects are indexed as they are stored; events.k8s.io names the fields of core events anew."""
    if type.storage is None:
        return field
    return _STORED_NAMES.get(field, field.replace("regarding.", "involvedObject.", 1))


def _field_test(field: str, value: str, equal: bool) -> Matches:
    if field == _NAME:
        return lambda entry: (entry.name == value) is equal
    if field == _NAMESPACE:
        return lambda entry: (entry.namespace == value) is equal
    return lambda entry: (entry.fields.get(field, "") == value) is equal


def _check_supported(type: ResourceType, field: str) -> None:
    if field in type.selectable_fields or field in _OF_METADATA:
        return
    if len(type.selectable_fields) > 2:
        raise bad_request(f"field label not supported: {field}")
    raise bad_request(f'"{field}" is not a known field selector: only "metadata.name", "metadata.namespace"')
