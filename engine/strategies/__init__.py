"""Strategies: how one step runs on one or many processes."""
