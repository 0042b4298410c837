"""The store over a real etcd v3 cluster. `store` is its face; docs/decisions/2026-11-23-etcd-client.md says why so."""
