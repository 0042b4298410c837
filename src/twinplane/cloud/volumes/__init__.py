"""EBS with a real data path: volumes are sparse files, and loop devices in machines; instance store likewise."""
