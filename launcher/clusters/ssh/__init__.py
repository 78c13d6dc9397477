"""Hosts that are reached by SSH. May import clusters.base and core."""
