"""The group `metrics.k8s.io`: what `kubectl top` shows and HorizontalPodAutoscalers act on.

EKS clusters have it from metrics-server, whose pod would be simulated here. The API server answers for it itself,
through the aggregator, as long as the APIService names no Service of somebody who does.
`bootstrap`: what every cluster has for it; `sampling`: what kubelets say; `rendering`: how it is shown; `answers`: the
API.
"""
