"""Loggers: one member, one small file. Each is imported when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.loggers.base import Logger
from engine.runtime.lazy import on_demand

if TYPE_CHECKING:
    from engine.loggers.collection import LoggerCollection
    from engine.loggers.dummy import DummyExperiment, DummyLogger, rank_zero_experiment
    from engine.loggers.folders.base import FolderLogger, next_version
    from engine.loggers.folders.csv import CSVLogger
    from engine.loggers.folders.snapshot import CodeSnapshotLogger, TestTubeLogger
    from engine.loggers.folders.tensorboard import TensorBoardLogger
    from engine.loggers.folders.versions import settle_versions
    from engine.loggers.memory import MemoryLogger
    from engine.loggers.services.comet import CometLogger
    from engine.loggers.services.mlflow import MLFlowLogger
    from engine.loggers.services.neptune import NeptuneLogger
    from engine.loggers.services.wandb import WandbLogger

_MEMBERS = {
    "CSVLogger": "engine.loggers.folders.csv",
    "FolderLogger": "engine.loggers.folders.base",
    "LoggerCollection": "engine.loggers.collection",
    "MemoryLogger": "engine.loggers.memory",
    "TensorBoardLogger": "engine.loggers.folders.tensorboard",
    "next_version": "engine.loggers.folders.base",
    "settle_versions": "engine.loggers.folders.versions",
    "CodeSnapshotLogger": "engine.loggers.folders.snapshot",
    "CometLogger": "engine.loggers.services.comet",
    "DummyExperiment": "engine.loggers.dummy",
    "DummyLogger": "engine.loggers.dummy",
    "MLFlowLogger": "engine.loggers.services.mlflow",
    "NeptuneLogger": "engine.loggers.services.neptune",
    "TestTubeLogger": "engine.loggers.folders.snapshot",
    "WandbLogger": "engine.loggers.services.wandb",
    "rank_zero_experiment": "engine.loggers.dummy",
}

__all__ = [
    "CSVLogger",
    "CodeSnapshotLogger",
    "CometLogger",
    "DummyExperiment",
    "DummyLogger",
    "FolderLogger",
    "Logger",
    "LoggerCollection",
    "MLFlowLogger",
    "MemoryLogger",
    "NeptuneLogger",
    "TensorBoardLogger",
    "TestTubeLogger",
    "WandbLogger",
    "next_version",
    "rank_zero_experiment",
    "settle_versions",
]

__getattr__ = on_demand(__name__, _MEMBERS)
