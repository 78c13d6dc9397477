"""plaunch: starts training on every node, follows it, and says what failed and why."""
