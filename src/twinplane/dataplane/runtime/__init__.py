"""The container runtime: what the kubelet asks of it (`contract`), and any CRI v1 runtime (`cri`)."""
