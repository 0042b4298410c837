"""Requests that end at a node: exec, attach and port-forward, and the proxies of pods, services and nodes.

The API server checks who may do what, and passes bytes on; the protocols themselves are spoken by client and kubelet.
"""
