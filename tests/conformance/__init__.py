"""Upstream's own conformance tests against a region of ours: see docs/conformance.md. Nobody starts them by default."""
