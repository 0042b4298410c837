"""Custom resources: from a CustomResourceDefinition to a served type with its own schema.

`controller` follows the definitions and keeps their status; `installation` makes types of them; `behaviour` is what the
verbs ask of such a type (pruning, defaults, validation), compiled from the schema when it is first needed.
"""
