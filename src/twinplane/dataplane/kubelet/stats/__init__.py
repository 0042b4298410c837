"""What the node, its pods and their containers use: measured from cgroups, told in the formats of the kubelet's API."""
