"""Where pods come from: the API server, a directory of manifests, and what this node remembers of both."""
