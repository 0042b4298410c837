"""Garbage collection: dead containers, sandboxes, logs and directories of pods that are gone, images nobody uses."""
