"""The kubelet of a real node: pods of the API server become containers of the runtime."""
