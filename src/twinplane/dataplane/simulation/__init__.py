"""All simulated nodes of one cluster in one process: `python -m twinplane.dataplane.simulation --config FILE`.

The kubelet, the VPC CNI and kube-proxy of every node, as far as the Kubernetes API, the EC2 API and a TCP client can
tell. Nothing is run; containers are timers. No task, watch or connection belongs to a single node or pod, so thousands
of nodes cost what they say and no more.
"""
