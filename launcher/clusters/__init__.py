"""Backends: one kind of cluster, one file."""
