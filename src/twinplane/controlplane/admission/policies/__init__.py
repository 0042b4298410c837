"""Admission policies in CEL: ValidatingAdmissionPolicy and MutatingAdmissionPolicy, with bindings and parameters."""
