"""The kubelet's HTTPS API on port 10250."""
