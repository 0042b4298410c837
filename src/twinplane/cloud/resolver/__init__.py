"""The VPC's DNS server (Route 53 Resolver, VPC+2 and 169.254.169.253): private names of instances; the rest is asked
of the host's.
"""
