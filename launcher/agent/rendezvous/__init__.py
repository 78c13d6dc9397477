"""The store at which the ranks of an attempt meet. Standard library only."""
