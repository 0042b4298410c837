"""The AWS endpoint: one port for every service, signature checks, and the way to whoever answers."""
