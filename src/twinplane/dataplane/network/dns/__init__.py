"""Cluster DNS: what CoreDNS's kubernetes plugin answers, as a Deployment behind the Service kube-dns."""
