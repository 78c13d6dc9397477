"""Strategies: where the model lives, how it is stepped, how ranks agree."""

from engine.strategies.single import SingleDevice

__all__ = ["SingleDevice"]
