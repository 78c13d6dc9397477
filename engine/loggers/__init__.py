"""Loggers: one member, one small file. Those of other services are imported when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.lazy import on_demand
from engine.loggers.base import (
    FolderLogger,
    Logger,
    LoggerCollection,
    next_version,
    settle_versions,
)
from engine.loggers.csv import CSVLogger
from engine.loggers.memory import MemoryLogger
from engine.loggers.tensorboard import TensorBoardLogger

if TYPE_CHECKING:
    from engine.loggers.comet import CometLogger
    from engine.loggers.dummy import DummyExperiment, DummyLogger, rank_zero_experiment
    from engine.loggers.mlflow import MLFlowLogger
    from engine.loggers.neptune import NeptuneLogger
    from engine.loggers.snapshot import CodeSnapshotLogger, TestTubeLogger
    from engine.loggers.wandb import WandbLogger

_MEMBERS = {
    "CodeSnapshotLogger": "engine.loggers.snapshot",
    "CometLogger": "engine.loggers.comet",
    "DummyExperiment": "engine.loggers.dummy",
    "DummyLogger": "engine.loggers.dummy",
    "MLFlowLogger": "engine.loggers.mlflow",
    "NeptuneLogger": "engine.loggers.neptune",
    "TestTubeLogger": "engine.loggers.snapshot",
    "WandbLogger": "engine.loggers.wandb",
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
