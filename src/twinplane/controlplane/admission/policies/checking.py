"""What is wrong with webhook configurations, policies and bindings: expressions compiled, and what goes with them.

Upstream does this in the types' validation. It needs the cluster's CEL environment (the `authorizer` functions), which
the pure tables of types do not have, so it stands here as a plugin that refuses with the same 422.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from twinplane.controlplane.admission.contract import AdmissionRequest
from twinplane.controlplane.admission.plugin import Plugin
from twinplane.controlplane.admission.policies.variables import Variables, names_of
from twinplane.controlplane.admission.webhooks.expressions import Compiler
from twinplane.controlplane.admission.webhooks.matching import is_exempt
from twinplane.controlplane.cel import CelError, Program
from twinplane.kubeclient.contract import Object
from twinplane.kubeclient.errors import FieldError, invalid

Spec = Mapping[str, Any]
Compile = Callable[[str], Program]
_NO_CHECKS = "validations or auditAnnotations must contain at least one item"
_BOTH = (
    "must not contain both Deny and Warn (repeating the same validation failure information in the API response and "
    "headers serves no purpose)"
)
_PATCHES = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}


class AdmissionConfiguration(Plugin):
    name = "AdmissionConfiguration"
    by_type = True

    def __init__(self, compiler: Compiler) -> None:
        self._compiler = compiler

    def handles(self, request: AdmissionRequest) -> bool:
        return is_exempt(request.resource) and not request.subresource and request.operation in ("CREATE", "UPDATE")

    async def validate(self, request: AdmissionRequest) -> None:
        body, old = request.object or {}, request.old or {}
        if all(body.get(field) == old.get(field) for field in ("spec", "webhooks")):
            return
        causes = list(problems(request.resource.kind, body, self._compiler))
        if causes:
            raise invalid(request.resource.group, request.resource.kind, request.name, causes)


def problems(kind: str, body: Object, compiler: Compiler) -> Iterator[FieldError]:
    """Of any object of the group."""
    spec = body.get("spec") or {}
    if kind.endswith("WebhookConfiguration"):
        for index, webhook in enumerate(body.get("webhooks") or ()):
            yield from _conditions(webhook, f"webhooks[{index}]", compiler, {})
    elif kind.endswith("Binding"):
        yield from _binding(spec, has_actions=kind.startswith("Validating"))
    else:
        yield from _policy(spec, kind, compiler)


def _policy(spec: Spec, kind: str, compiler: Compiler) -> Iterator[FieldError]:
    constraints = spec.get("matchConstraints")
    if constraints is None:
        yield FieldError("FieldValueRequired", "spec.matchConstraints")
    elif not constraints.get("resourceRules"):
        yield FieldError("FieldValueRequired", "spec.matchConstraints.resourceRules")
    names = names_of(spec)
    yield from _conditions(spec, "spec", compiler, names)
    variables = Variables((), compiler, names)
    for index, each in enumerate(spec.get("variables") or ()):
        try:
            variables.add(each["name"], each["expression"])
        except CelError as error:
            yield _failed(f"spec.variables[{index}].expression", each["expression"], error)
            return
    if kind.startswith("Validating"):
        yield from _validations(spec, lambda text: variables.compile(text).program)
    else:
        yield from _mutations(spec, lambda text: variables.compile(text).program)


def _validations(spec: Spec, compile_: Compile) -> Iterator[FieldError]:
    validations, annotations = spec.get("validations") or (), spec.get("auditAnnotations") or ()
    if not validations and not annotations:
        yield FieldError("FieldValueRequired", "spec.validations", _NO_CHECKS)
        yield FieldError("FieldValueRequired", "spec.auditAnnotations", _NO_CHECKS)
    for index, each in enumerate(validations):
        path = f"spec.validations[{index}]"
        yield from _expression(each.get("expression"), f"{path}.expression", compile_, ("bool",))
        if each.get("messageExpression"):
            yield from _expression(each["messageExpression"], f"{path}.messageExpression", compile_, ("string",))
    for index, each in enumerate(annotations):
        path = f"spec.auditAnnotations[{index}].valueExpression"
        yield from _expression(each.get("valueExpression"), path, compile_, ("string", "null"))


def _mutations(spec: Spec, compile_: Compile) -> Iterator[FieldError]:
    mutations = spec.get("mutations") or ()
    if not mutations:
        yield FieldError("FieldValueRequired", "spec.mutations", "mutations must contain at least one item")
    if spec.get("reinvocationPolicy") not in ("Never", "IfNeeded"):
        detail = 'supported values: "IfNeeded", "Never"'
        shown = spec.get("reinvocationPolicy") or ""
        yield FieldError("FieldValueNotSupported", "spec.reinvocationPolicy", detail, shown)
    for index, each in enumerate(mutations):
        path, patch_type = f"spec.mutations[{index}]", each.get("patchType") or ""
        field = _PATCHES.get(patch_type)
        if field is None:
            detail = 'supported values: "ApplyConfiguration", "JSONPatch"'
            yield FieldError("FieldValueNotSupported", f"{path}.patchType", detail, patch_type)
        elif not each.get(field):
            detail = f"must be specified when patchType is {patch_type}"
            yield FieldError("FieldValueRequired", f"{path}.{field}", detail)
        else:
            text = each[field].get("expression")
            yield from _expression(text, f"{path}.{field}.expression", compile_, ("map", "list"))


def _binding(spec: Spec, *, has_actions: bool) -> Iterator[FieldError]:
    if not spec.get("policyName"):
        yield FieldError("FieldValueRequired", "spec.policyName")
    reference = spec.get("paramRef")
    if reference is not None and bool(reference.get("name")) == (reference.get("selector") is not None):
        detail = "name and selector are mutually exclusive" if reference.get("name") else "one of name or selector"
        yield FieldError("FieldValueInvalid", "spec.paramRef", detail, reference)
    if not has_actions:
        return
    actions: Sequence[str] = spec.get("validationActions") or ()
    if not actions:
        yield FieldError("FieldValueRequired", "spec.validationActions")
    for index, action in enumerate(actions):
        path = f"spec.validationActions[{index}]"
        if action not in ("Deny", "Warn", "Audit"):
            detail = 'supported values: "Audit", "Deny", "Warn"'
            yield FieldError("FieldValueNotSupported", path, detail, action)
        elif action in actions[:index]:
            yield FieldError("FieldValueDuplicate", path, "", action)
    if "Deny" in actions and "Warn" in actions:
        yield FieldError("FieldValueInvalid", "spec.validationActions", _BOTH, list(actions))


def _conditions(owner: Spec, path: str, compiler: Compiler, more: Mapping[str, str]) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, each in enumerate(owner.get("matchConditions") or ()):
        at, name = f"{path}.matchConditions[{index}]", each.get("name") or ""
        if not name:
            yield FieldError("FieldValueRequired", f"{at}.name")
        elif name in seen:
            yield FieldError("FieldValueDuplicate", f"{at}.name", "", name)
        seen.add(name)
        yield from _expression(
            each.get("expression"), f"{at}.expression", lambda text: compiler.compile(text, more), ("bool",)
        )


def _expression(text: str | None, path: str, compile_: Compile, types: Sequence[str]) -> Iterator[FieldError]:
    """`types` are what it may evaluate to; values that are only known later are taken, too."""
    if not (text or "").strip():
        yield FieldError("FieldValueRequired", path)
        return
    assert text is not None
    try:
        found = compile_(text).result_type.partition("(")[0]
    except CelError as error:
        yield _failed(path, text, error)
        return
    if found not in (*types, "dyn"):
        wanted = types[0] if len(types) == 1 else f"one of [{' '.join(types)}]"
        yield FieldError("FieldValueInvalid", path, f"must evaluate to {wanted}", text)


def _failed(path: str, text: str, error: CelError) -> FieldError:
    return FieldError("FieldValueInvalid", path, f"compilation failed: {error}", text)
