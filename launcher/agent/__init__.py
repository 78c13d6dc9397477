"""What runs on each node: standard library only; its source travels with the start."""
