"""The audit log of the API server: a policy says how much of which request is kept, as JSON lines in a file."""
