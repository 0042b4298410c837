"""What simulated pods consume: pure functions of (model, pod, time), described by data."""
