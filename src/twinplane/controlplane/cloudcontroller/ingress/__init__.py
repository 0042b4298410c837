"""Ingress of class `alb` -> Application Load Balancer."""
