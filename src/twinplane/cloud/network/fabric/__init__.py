"""VPCs as Linux networks (docs/real-nodes.md): snapshot of the account -> pure plan -> the fewest changes on this host.

`contract` holds the account's networks as plain values (`from_moto` reads them), `planner`, `routing`, `security` and
`host` turn them into a `desired.Plan`, `applier` makes the machine equal to it, and `loop.Fabric` is the task that the
daemon runs.
"""
