"""The region: the daemon that holds your AWS account and supervises every other process. The composition root."""
