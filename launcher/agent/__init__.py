"""What runs on each node: standard library only; its code travels with the start."""
