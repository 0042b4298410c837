"""Strategic merge patch: like a merge patch, but lists whose schema says so are merged by key, and directives steer.

The meaning is that of k8s.io/apimachinery pkg/util/strategicpatch, including where it puts new elements: what the patch
names comes in the order of the patch (or of `$setElementOrder`), what it does not name keeps its place among the
elements that were there. Where upstream answers 500 for a bad patch, this answers BadRequest with its message. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twinplane.controlplane.api.patch.typed_value import CONTAINERS
from twinplane.controlplane.api.types.schema import Schema
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import ApiError, bad_request

DIRECTIVE = "$patch"
RETAIN_KEYS = "$retainKeys"
DELETE_FROM = "$deleteFromPrimitiveList"
SET_ORDER = "$setElementOrder"

BAD_PRIMITIVE_LIST = "invalid patch format of primitive list"
BAD_RETAIN_KEYS = "invalid patch format of retainKeys"
BAD_SET_ORDER = "invalid patch format of setElementOrder list"

Identity = Callable[[Any], Any]
"""Element -> what tells it from others: the merge key's value, or the element itself."""


def apply(obj: Object, patch: Any, schema: Schema | None) -> Object:
    """The patched object, which shares what did not change with `obj`; `patch` is used up and becomes part of it.

    Raises `ApiError` BadRequest, or Invalid for lists of lists.
    """
    if not isinstance(patch, dict):
        raise bad_request("invalid JSON document")
    return _merge_map(obj, patch, schema)


def _merge_map(original: dict[str, Any], patch: dict[str, Any], schema: Schema | None) -> dict[str, Any]:
    # Hardly any map has directives, and one look at all its keys together tells.
    directives = [key for key in patch if key.startswith("$")] if "$" in "".join(patch) else ()
    directive = patch.pop(DIRECTIVE, "merge") if directives else "merge"
    if directive == "delete":
        return {}
    original = {} if directive == "replace" else dict(original)
    if directives:
        if directive not in ("merge", "replace"):
            raise bad_request(f"unknown patch type: {directive} in map: {go_map(patch)}")
        _retain_keys(original, patch)
        for key in directives:
            if key.startswith(SET_ORDER):
                _merge_ordered(original, patch, key, schema)
    for key, value in patch.items():
        if directives and key.startswith(DELETE_FROM):
            _delete_from(original, _directive_target(key, BAD_PRIMITIVE_LIST), value)
        elif value is None:
            original.pop(key, None)
        elif isinstance(value, CONTAINERS):
            original[key] = _merge_value(original.get(key), value, schema.property(key) if schema else None)
        else:
            original[key] = value
    return original


def _merge_value(original: Any, value: Any, schema: Schema | None) -> Any:
    strategies = schema.patch_strategy if schema else ()
    if isinstance(value, dict):
        mergeable = isinstance(original, dict) and "replace" not in strategies
        return _merge_map(original if mergeable else {}, value, schema)
    if isinstance(value, list) and "merge" in strategies and schema is not None:
        return _merge_list(original, value, schema) if isinstance(original, list) else _adopted(value, schema)
    return value


def _adopted(elements: list[Any], schema: Schema) -> list[Any]:
    """A list that is new: without its directives, and without what it deletes."""
    kept = [element for element in elements if _directive(element) not in ("delete", "replace")]
    return [_merge_map({}, element, schema.items) if isinstance(element, dict) else element for element in kept]


def _directive(element: Any) -> Any:
    return element.get(DIRECTIVE) if isinstance(element, dict) else None


def _retain_keys(original: dict[str, Any], patch: dict[str, Any]) -> None:
    if RETAIN_KEYS not in patch:
        return
    retained = patch.pop(RETAIN_KEYS)
    if not isinstance(retained, list):
        raise bad_request(BAD_RETAIN_KEYS)
    for key, value in patch.items():
        if value is not None and key not in retained and not key.startswith((DELETE_FROM, SET_ORDER)):
            raise bad_request(BAD_RETAIN_KEYS)
    for key in [key for key in original if key not in retained]:
        del original[key]


def _directive_target(key: str, problem: str) -> str:
    _, slash, target = key.partition("/")
    if not slash or key.split("/", 1)[0] not in (DELETE_FROM, SET_ORDER):
        raise bad_request(problem)
    return target


def _delete_from(original: dict[str, Any], key: str, values: Any) -> None:
    if not isinstance(values, list):
        raise bad_request(BAD_PRIMITIVE_LIST)
    current = original.get(key)
    if isinstance(current, list):
        gone = {_scalar(value) for value in values}
        original[key] = [value for value in current if _scalar(value) not in gone]


def _merge_ordered(original: dict[str, Any], patch: dict[str, Any], directive: str, schema: Schema | None) -> None:
    """Merge the list that a `$setElementOrder/NAME` is for, then put its elements in that order."""
    order = patch.pop(directive)
    key = _directive_target(directive, BAD_SET_ORDER)
    current, change = original.get(key), patch.pop(key, None)
    if not isinstance(order, list) or not all(value is None or isinstance(value, list) for value in (current, change)):
        raise bad_request(BAD_SET_ORDER)
    if current is None and change is None:
        return
    field = schema.property(key) if schema else None
    merge_key = field.patch_merge_key if field else ""
    identity = _identity(merge_key)
    _check_order(change or [], order, identity)
    if current is None:
        merged = _adopted(change, field) if field else change
    else:
        merged = current if change is None else _merge_value(list(current), change, field)
    original[key] = _ordered(merged, order, current or [], identity)


def _check_order(change: list[Any], order: list[Any], identity: Identity) -> None:
    """The elements of the patch must be in the order list, in the same relative order."""
    rest = iter([identity(element) for element in order])
    wanted = [identity(element) for element in change if _directive(element) is None]
    if order and not all(element in rest for element in wanted):
        shown = f"The order in patch list:\n{go_map(change)}\n doesn't match {SET_ORDER} list:\n{go_map(order)}\n"
        raise bad_request(shown)


def _merge_list(original: list[Any], patch: list[Any], schema: Schema) -> list[Any]:
    if not original and not patch:
        return original
    original = list(original)
    if not _are_maps([*original, *patch]):
        return _ordered(_distinct([*original, *patch]), patch, original, _scalar)
    key = schema.patch_merge_key
    if not key:
        raise bad_request("cannot merge lists without merge key for type map")
    identity = _identity(key)
    directives = [element for element in patch if DIRECTIVE in element]
    changes = [element for element in patch if DIRECTIVE not in element]
    if _apply_directives(original, directives, identity):
        return _adopted(changes, schema)
    merged = list(original)
    places = _places(merged, identity)
    for change in changes:
        which = identity(change)
        place = places.get(which)
        if place is None:
            places[which] = len(merged)
            merged.append(_merge_map({}, change, schema.items))
        else:
            merged[place] = _merge_map(merged[place], change, schema.items)
    return _ordered(merged, changes, original, identity)


def _apply_directives(original: list[Any], directives: list[dict[str, Any]], identity: Identity) -> bool:
    """Delete from `original` what they name; true when the list is to be replaced instead."""
    replace = False
    for element in directives:
        directive = element[DIRECTIVE]
        if directive == "delete":
            gone = identity(element)
            original[:] = [kept for kept in original if identity(kept) != gone]
        elif directive == "replace":
            replace = True
        elif directive == "merge":
            raise bad_request("merging lists cannot yet be specified in the patch")
        else:
            raise bad_request(f"unknown patch type: {directive} in map: {go_map(element)}")
    return replace


def _are_maps(elements: Iterable[Any]) -> bool:
    kinds = {type(element) for element in elements}
    if list in kinds:
        raise ApiError("Invalid", "the server rejected our request due to an error in our request")
    if dict in kinds and len(kinds) > 1:
        raise bad_request(f"list element types are not identical: {go_map(list(elements))}")
    return dict in kinds


def _ordered(merged: list[Any], order: list[Any], server_order: list[Any], identity: Identity) -> list[Any]:
    """Elements named by `order` in that order; the others keep their place relative to those the server had."""
    rank, live = _places(order, identity), _places(server_order, identity)
    identified = [(identity(element), element) for element in merged]
    named = sorted([pair for pair in identified if pair[0] in rank], key=lambda pair: rank[pair[0]])
    others = [pair for pair in identified if pair[0] not in rank]
    others.sort(key=lambda pair: live.get(pair[0], len(live)))
    result: list[Any] = []
    for which, element in named:
        place = live.get(which)
        while others and place is not None and live.get(others[0][0], place) < place:
            result.append(others.pop(0)[1])
        result.append(element)
    return result + [element for _, element in others]


def _places(elements: list[Any], identity: Identity) -> dict[Any, int]:
    """Where each is found first."""
    places: dict[Any, int] = {}
    for place, element in enumerate(elements):
        places.setdefault(identity(element), place)
    return places


def _distinct(values: list[Any]) -> list[Any]:
    return list({_scalar(value): value for value in values}.values())


def _scalar(value: Any) -> Any:
    """Python takes true and 1 for the same key."""
    return (value, type(value)) if not isinstance(value, dict | list) else (repr(value), type(value))


def _identity(merge_key: str) -> Identity:
    if not merge_key:
        return _scalar

    def value_of_key(element: Any) -> Any:
        if not isinstance(element, dict):
            raise bad_request(f"expected a map[string]interface {{}}, but received: {go_map(element)}")
        if merge_key not in element:
            raise bad_request(f"map: {go_map(element)} does not contain declared merge key: {merge_key}")
        return _scalar(element[merge_key])

    return value_of_key


def go_map(value: Any) -> str:
    """A JSON value as Go's %v prints it, for messages."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{go_map(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(go_map, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "<nil>" if value is None else str(value)
