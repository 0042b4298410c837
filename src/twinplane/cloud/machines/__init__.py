"""EC2 instances as machines: namespaces and a cgroup each, in which a real node runs (docs/real-nodes.md)."""
