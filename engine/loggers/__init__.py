"""Loggers: one member, one small file."""

from engine.loggers.base import FolderLogger, Logger, next_version, settle_versions
from engine.loggers.csv import CSVLogger
from engine.loggers.memory import MemoryLogger
from engine.loggers.tensorboard import TensorBoardLogger

__all__ = [
    "CSVLogger",
    "FolderLogger",
    "Logger",
    "MemoryLogger",
    "TensorBoardLogger",
    "next_version",
    "settle_versions",
]
