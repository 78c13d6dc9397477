"""Data, by the name of its file."""

from .data_interface import DInterface

__all__ = ["DInterface"]
