"""Volumes of pods on a node: what the kubelet mounts before it starts containers, and takes away after them."""
