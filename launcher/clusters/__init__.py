"""Backends, one for each kind of cluster: a file, or a folder where it needs several."""
