"""Loggers: one member, one small file."""

from engine.loggers.base import Logger, next_version, settle_versions
from engine.loggers.csv import CSVLogger
from engine.loggers.memory import MemoryLogger
from engine.loggers.tensorboard import TensorBoardLogger

__all__ = [
    "CSVLogger",
    "Logger",
    "MemoryLogger",
    "TensorBoardLogger",
    "next_version",
    "settle_versions",
]
