"""The node's own objects: Node and Lease, and the credentials with which the node speaks to its API server."""
