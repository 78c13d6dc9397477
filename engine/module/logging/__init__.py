"""Values that a module logs: kept for an epoch, reduced over the ranks once."""
