"""The status of pods: worked out of what runs (pure), and written to the API server as small patches."""
