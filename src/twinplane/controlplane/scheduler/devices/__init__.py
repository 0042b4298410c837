"""Dynamic resource allocation (`resource.k8s.io`): which devices a pod's ResourceClaims get, and on which nodes."""
