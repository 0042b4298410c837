"""What runs inside an instance: PID 1, the node's configuration, the agent's composition."""
