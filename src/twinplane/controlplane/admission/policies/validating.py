"""ValidatingAdmissionPolicy: validations in CEL that deny, warn, or leave a note in the audit log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from twinplane.controlplane.admission.contract import AdmissionRequest
from twinplane.controlplane.admission.plugin import Plugin
from twinplane.controlplane.admission.policies.definitions import Definitions, resource
from twinplane.controlplane.admission.policies.invocation import ConditionFailed, Invocation, Invocations, denied
from twinplane.controlplane.admission.policies.variables import Expression, Scope, Variables
from twinplane.controlplane.admission.webhooks.dispatch import Webhooks
from twinplane.controlplane.cel import CelError
from twinplane.kubeclient.contract import Object

POLICIES = resource("validatingadmissionpolicies", "ValidatingAdmissionPolicy")
BINDINGS = resource("validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding")
_FAILURE = "validation.policy.admission.k8s.io/validation_failure"
_LONGEST_MESSAGE = 5 * 1024


@dataclass(frozen=True, slots=True)
class Validation:
    check: Expression
    message: str
    message_expression: Expression | None
    reason: str


@dataclass(frozen=True, slots=True)
class Validations:
    validations: tuple[Validation, ...]
    annotations: tuple[tuple[str, Expression], ...]
    """Keys of audit annotations and what gives their values."""


@dataclass(frozen=True, slots=True)
class Failure:
    message: str
    reason: str = ""
    index: int = 0
    """Of the expression in the policy."""


def compile_body(policy: Object, variables: Variables) -> Validations:
    spec = policy["spec"]
    validations = tuple(
        Validation(
            variables.compile(each["expression"]),
            (each.get("message") or "").strip(),
            variables.compile(each["messageExpression"]) if each.get("messageExpression") else None,
            each.get("reason") or "",
        )
        for each in spec.get("validations") or ()
    )
    annotations = tuple(
        (each["key"], variables.compile(each["valueExpression"])) for each in spec.get("auditAnnotations") or ()
    )
    return Validations(validations, annotations)


class ValidatingAdmissionPolicy(Plugin):
    name = "ValidatingAdmissionPolicy"
    waits_for = (POLICIES, BINDINGS)

    def __init__(self, parts: Webhooks) -> None:
        definitions = Definitions(parts.reader, parts.compiler, POLICIES, BINDINGS, compile_body)
        self._invocations: Invocations[Validations] = Invocations(parts, definitions)

    def handles(self, request: AdmissionRequest) -> bool:
        return self._invocations.any()

    async def validate(self, request: AdmissionRequest) -> None:
        """Everything is evaluated, for warnings and annotations; then the first denial is told."""
        refused: list[tuple[str, str]] = []
        noted: list[Object] = []
        annotations: dict[str, dict[str, None]] = {}
        for invocation in self._invocations.of(request):
            policy, binding = invocation.policy.name, invocation.binding
            place = f"ValidatingAdmissionPolicy '{policy}' with binding '{binding.name}'"
            for failure in self._failures(invocation, annotations):
                if "Deny" in binding.actions or failure.index < 0:
                    refused.append((f"{place} denied request: {failure.message}", failure.reason))
                    continue
                if "Warn" in binding.actions:
                    request.warnings.append(f"Validation failed for {place}: {failure.message}")
                if "Audit" in binding.actions:
                    noted.append(_note(failure, policy, binding.name, binding.actions))
        if noted:
            request.annotations[_FAILURE] = orjson.dumps(noted).decode()
        for key, values in annotations.items():
            request.annotations[key] = ", ".join(values)
        if refused:
            raise denied(request, *refused[0])

    def _failures(
        self, invocation: Invocation[Validations], annotations: dict[str, dict[str, None]]
    ) -> Iterator[Failure]:
        """What does not hold, and (unless the policy fails open) what could not be evaluated."""
        policy = invocation.policy
        if invocation.problem:
            if not policy.fails_open:
                yield Failure(invocation.problem, index=-1)
            return
        assert policy.body is not None, "it compiled"
        for param in invocation.params:
            try:
                scope = self._invocations.scope(invocation, param)
            except ConditionFailed as error:
                yield Failure(str(error))
                continue
            if scope is None:
                continue
            for index, validation in enumerate(policy.body.validations):
                failure = _checked(validation, scope, index, fails_open=policy.fails_open)
                if failure is not None:
                    yield failure
            yield from _annotate(policy.name, policy.body, scope, annotations, fails_open=policy.fails_open)


def _checked(validation: Validation, scope: Scope, index: int, *, fails_open: bool) -> Failure | None:
    try:
        holds = scope.evaluate(validation.check)
    except CelError as error:
        return None if fails_open else Failure(str(error), index=index)
    if holds is True:
        return None
    message = _message(validation, scope) or validation.message
    return Failure(message or f"failed expression: {validation.check.text.strip()}", validation.reason, index)


def _message(validation: Validation, scope: Scope) -> str:
    """Of the messageExpression; empty when it gives none that can be shown."""
    if validation.message_expression is None:
        return ""
    try:
        text = scope.evaluate(validation.message_expression)
    except CelError:
        return ""
    if not isinstance(text, str) or "\n" in text.strip() or len(text) > _LONGEST_MESSAGE:
        return ""
    return text.strip()


def _annotate(
    policy: str, body: Validations, scope: Scope, annotations: dict[str, dict[str, None]], *, fails_open: bool
) -> Iterator[Failure]:
    for key, value_expression in body.annotations:
        try:
            value = scope.evaluate(value_expression)
        except CelError as error:
            if not fails_open:
                yield Failure(str(error))
            continue
        if isinstance(value, str) and value.strip():
            annotations.setdefault(f"{policy}/{key}", {})[value.strip()] = None


def _note(failure: Failure, policy: str, binding: str, actions: frozenset[str]) -> Object:
    return {
        "message": failure.message,
        "policy": policy,
        "binding": binding,
        "expressionIndex": failure.index,
        "validationActions": sorted(actions),
    }
