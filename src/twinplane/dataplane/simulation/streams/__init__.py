"""exec, attach and port-forward of simulated pods: a few commands that are answered, a log, and the pod's own HTTP."""
