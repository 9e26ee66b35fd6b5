"""The hpc tree: openMosix's /proc/hpc as a FUSE mount under /run/openmosix/hpc."""
