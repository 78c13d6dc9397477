"""The process that imports torch once, from which ranks are forked. Standard library only."""
