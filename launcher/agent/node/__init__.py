"""What a node has, and what is left on it. Standard library only."""
