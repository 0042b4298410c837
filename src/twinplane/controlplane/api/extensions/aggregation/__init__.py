"""Aggregated APIs: groups that other servers serve, reached through this one (k8s.io/kube-aggregator).

`services` knows which; `proxy` passes requests on; `discovery` adds them to this server's documents; `local` keeps the
APIService objects of what this server serves itself.
"""
