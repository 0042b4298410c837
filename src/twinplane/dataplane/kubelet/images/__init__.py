"""Images of containers: whether to pull, with which credentials, and how often to try."""
