"""The RBAC objects that every cluster is born with, as tables in a notation of our own (see `notation`)."""
