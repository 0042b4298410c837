"""Node <- EC2 instance."""
