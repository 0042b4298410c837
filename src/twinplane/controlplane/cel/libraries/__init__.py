"""The functions that Kubernetes adds to CEL, as of k8s.io/apiserver pkg/cel/library: one file for each library."""

from twinplane.controlplane.cel.functions import Function
from twinplane.controlplane.cel.libraries import formats, lists, network, quantities, semver, texts, urls

FUNCTIONS: tuple[Function, ...] = (
    *lists.FUNCTIONS,
    *texts.FUNCTIONS,
    *urls.FUNCTIONS,
    *quantities.FUNCTIONS,
    *network.FUNCTIONS,
    *formats.FUNCTIONS,
    *semver.FUNCTIONS,
)
