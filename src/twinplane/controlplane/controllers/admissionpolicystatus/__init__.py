"""The status of ValidatingAdmissionPolicies."""
