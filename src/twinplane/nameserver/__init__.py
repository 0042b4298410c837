"""A DNS server's common part: sockets, forwarding and caching; what it knows itself is a function given to it."""
