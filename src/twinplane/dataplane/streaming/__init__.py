"""The kubelet's side of exec, attach and port-forward: the protocols, apart from who runs the containers.

`server` is what a kubelet serves with; behind it is anything that implements `contract.Streams`.
"""
