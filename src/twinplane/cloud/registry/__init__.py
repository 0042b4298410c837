"""The region's image registry: the OCI distribution API over the images of the data directory, and ECR in front of it.

Our own rather than Debian's docker-registry: `twinplane image` puts images into the same directory with no server
running, one registry answers for every registry name (which docker-registry cannot), and it costs the daemon no
process, no port and no megabytes.
"""
