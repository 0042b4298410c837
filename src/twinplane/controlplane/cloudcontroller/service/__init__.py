"""Service of type LoadBalancer -> Classic or Network Load Balancer."""
