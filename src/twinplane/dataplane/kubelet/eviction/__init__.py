"""Eviction: pods are ended when the node runs out of memory, disk or process ids, or they of their own limits."""
