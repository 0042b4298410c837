"""Probes and lifecycle hooks: HTTP, TCP, gRPC and commands, as the kubelet asks them of containers."""
