"""A CustomResourceDefinition's status, computed: which names it may have, whether it is served. Pure.

The rules are those of upstream's naming, establishing and approval controllers, which agree on one status here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from twinplane.kubeclient.contract import Object

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
APPROVAL = "api-approved.kubernetes.io"
APPROVAL_LINK = "https://github.com/kubernetes/enhancements/pull/1111"
_ESTABLISHED = ("True", "InitialNamesAccepted", "the initial names have been accepted")
_NOT_ACCEPTED = ("False", "NotAccepted", "not all names are accepted")
_NAMES = (("plural", "Plural"), ("singular", "Singular"), ("kind", "Kind"), ("listKind", "ListKind"))
_OPTIONAL_NAMES = ("shortNames", "categories")


def condition(definition: Object, kind: str) -> dict[str, Any] | None:
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return next((entry for entry in conditions if entry.get("type") == kind), None)


def is_true(definition: Object, kind: str) -> bool:
    return (condition(definition, kind) or {}).get("status") == "True"


def versions(definition: Object) -> list[dict[str, Any]]:
    return list(definition["spec"].get("versions") or ())


def storage_version(definition: Object) -> str:
    return next((str(version["name"]) for version in versions(definition) if version.get("storage")), "")


def is_protected(group: str) -> bool:
    """Groups of the Kubernetes community, whose types its reviewers approve."""
    return any(group == domain or group.endswith("." + domain) for domain in ("k8s.io", "kubernetes.io"))


def next_status(definition: Object, others: Iterable[Object], now: str) -> Object | None:
    """The status as it should be; None when it is that already. `others`: all definitions."""
    status = dict(definition.get("status") or {})
    group = definition["spec"]["group"]
    same_group = [
        other
        for other in others
        if other["spec"]["group"] == group and other["metadata"]["name"] != definition["metadata"]["name"]
    ]
    accepted, problem = _accept(definition, same_group)
    conditions = [dict(entry) for entry in status.get("conditions") or ()]
    named = ("True", "NoConflicts", "no conflicts found") if problem is None else ("False", *problem)
    _set(conditions, "NamesAccepted", named, now)
    if problem is None:
        _set(conditions, "Established", _ESTABLISHED, now)
    elif not is_true(definition, "Established"):
        _set(conditions, "Established", _NOT_ACCEPTED, now)
    approval = _approval(definition)
    if approval is not None:
        _set(conditions, "KubernetesAPIApprovalPolicyConformant", approval, now)
    status |= {"acceptedNames": accepted, "conditions": conditions}
    return None if status == (definition.get("status") or {}) else status


def _accept(definition: Object, others: list[Object]) -> tuple[Object, tuple[str, str] | None]:
    """(the names it has now, reason and message of the last conflict)."""
    wanted = definition["spec"].get("names") or {}
    accepted: Object = dict((definition.get("status") or {}).get("acceptedNames") or {})
    resources, kinds = _taken(others)
    problem: tuple[str, str] | None = None
    for field, word in _NAMES:
        name = wanted.get(field, "")
        taken = kinds if field in ("kind", "listKind") else resources
        if name != accepted.get(field) and name in taken:
            problem = (f"{word}Conflict", f'"{name}" is already in use')
        elif name:
            accepted[field] = name
        if field == "singular":
            clashes = [short for short in wanted.get("shortNames") or () if short in resources]
            if clashes:
                texts = [f'"{short}" is already in use' for short in clashes]
                problem = ("ShortNamesConflict", texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")
            else:
                _take(accepted, wanted, "shortNames")
    _take(accepted, wanted, "categories")
    accepted.setdefault("plural", "")
    accepted.setdefault("kind", "")
    return accepted, problem


def _take(accepted: Object, wanted: Object, field: str) -> None:
    if wanted.get(field):
        accepted[field] = wanted[field]
    else:
        accepted.pop(field, None)


def _taken(others: list[Object]) -> tuple[set[str], set[str]]:
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        names = (other.get("status") or {}).get("acceptedNames") or {}
        resources |= {names.get("plural", ""), names.get("singular", ""), *(names.get("shortNames") or ())}
        kinds |= {names.get("kind", ""), names.get("listKind", "")}
    return resources - {""}, kinds - {""}


def _approval(definition: Object) -> tuple[str, str, str] | None:
    if not is_protected(definition["spec"]["group"]):
        return None
    given = (definition["metadata"].get("annotations") or {}).get(APPROVAL, "")
    if given.startswith("unapproved"):
        return "False", "UnapprovedAnnotation", f'not approved: "{given}"'
    if "://" in given:
        return "True", "ApprovedAnnotation", f"approved in {given}"
    detail = f'protected groups must have approval annotation "{APPROVAL}"'
    if not given:
        return "False", "MissingAnnotation", f"{detail}, see {APPROVAL_LINK}"
    choice = 'with either a URL or a reason starting with "unapproved"'
    return "False", "InvalidAnnotation", f"{detail} {choice}, see {APPROVAL_LINK}"


def _set(conditions: list[dict[str, Any]], kind: str, outcome: tuple[str, str, str], now: str) -> None:
    """`outcome`: status, reason and message."""
    status, reason, message = outcome
    entry = {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now}
    for index, known in enumerate(conditions):
        if known.get("type") == kind:
            if known.get("status") == status:
                entry["lastTransitionTime"] = known.get("lastTransitionTime", now)
            conditions[index] = entry
            return
    conditions.append(entry)


def terminating(definition: Object, reason: str, message: str, now: str) -> Object:
    """A status with that condition set."""
    found = dict(definition.get("status") or {})
    conditions = [dict(entry) for entry in found.get("conditions") or ()]
    _set(conditions, "Terminating", ("True", reason, message), now)
    return found | {"conditions": conditions}


def begin_deletion(definition: Object, finalizers: list[str], now: str) -> list[str]:
    """The finalizers of a definition that is deleted: its objects go before it does. Sets Terminating."""
    if definition["metadata"].get("deletionTimestamp"):
        return finalizers
    message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
    definition["status"] = terminating(definition, "InstanceDeletionPending", message, now)
    return finalizers if CLEANUP in finalizers else [*finalizers, CLEANUP]


def in_group(definitions: Iterable[Object], group: str) -> Iterator[Object]:
    return (each for each in definitions if each["spec"]["group"] == group)
