"""The nodes of a Ray cluster. May import clusters.base, clusters.dialback and core."""
