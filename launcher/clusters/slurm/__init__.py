"""SLURM: allocations, and its commands. May import clusters.base, clusters.dialback and core."""
