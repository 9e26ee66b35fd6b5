"""MFS: the home node's files as a FUSE file system on the guest's node."""
