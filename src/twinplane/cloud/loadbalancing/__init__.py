"""The load-balancer data path: from ELB and ELBv2 API state to bytes on a socket, through one Envoy."""
