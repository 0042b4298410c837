"""The labels that a pod takes over from its node: the API server copies them, the scheduler foresees that."""

from __future__ import annotations

from collections.abc import Mapping

COPIED_LABELS = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")
"""As upstream's defaultConfig of PodTopologyLabels."""


def topology_of(labels: Mapping[str, str]) -> dict[str, str]:
    """Of a node's labels, those that its pods have as well."""
    found: dict[str, str] = {}
    # Asked for every binding: a comprehension costs twice as much.
    for key in COPIED_LABELS:
        if key in labels:
            found[key] = labels[key]
    return found
