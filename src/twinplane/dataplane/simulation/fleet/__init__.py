"""Nodes without an EC2 instance behind them, described by a file, by the thousand.

`spec` and `failures` are pure and shared with the command line, which writes them into a ConfigMap
`twinplane-fleet-NAME` in kube-system; `fleets` watches that and makes the cluster's nodes follow.
"""
