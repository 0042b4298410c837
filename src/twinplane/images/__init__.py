"""Container images of a region: where they lie, how archives become images, how Debian packages do.

Used by the command line (pack, import), the region's registry, and the daemon for the images that nodes need
themselves. Imports nothing of the other parts.
"""
