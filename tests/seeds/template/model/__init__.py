"""Models, by the name of their file."""

from .model_interface import MInterface

__all__ = ["MInterface"]
