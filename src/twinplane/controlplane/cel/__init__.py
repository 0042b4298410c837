"""CEL, the Common Expression Language, as Kubernetes extends it.

Rules of CustomResourceDefinitions and admission policies are compiled here once and evaluated many times. The
language itself is Google's C++ implementation (package `cel-expr-python`); the functions that Kubernetes adds are in
`libraries`. It is imported with the first expression, since most clusters have none.
"""

from twinplane.controlplane.cel.environment import CelError, CompileError, EvaluationError
from twinplane.controlplane.cel.functions import Function
from twinplane.controlplane.cel.program import Optional, Program, compile_expression

__all__ = ["CelError", "CompileError", "EvaluationError", "Function", "Optional", "Program", "compile_expression"]
