"""What eksctl does, for `twinplane create|get|scale|delete cluster|nodegroup`: its files, its resources, its words."""
