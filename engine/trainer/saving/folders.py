"""Where a trainer writes: its folders, and the loggers that share them."""

from __future__ import annotations

import os
from typing import Any

from engine.runtime.storage import run_folder as rundir
from engine.trainer.defaults import make_loggers


def root_folder(trainer: Any) -> str:
    """Where everything is written that was not told to go elsewhere."""
    given: str | None = trainer._settings.output.default_root_dir
    return given or rundir.launched_dir() or os.getcwd()


def checkpoint_folder(trainer: Any) -> str:
    """The folder of this run in which a ModelCheckpoint without a `dirpath` has its own."""
    root: str | None = trainer._settings.output.weights_save_path
    if root is None:
        return os.path.abspath(_service_folder(trainer) or log_folder(trainer))
    logger = trainer.logger
    if getattr(logger, "log_dir", None) is None:
        return root
    version = logger.version
    folder = version if isinstance(version, str) else f"version_{version}"
    return os.path.join(root, str(logger.name or ""), folder)


def loggers_of(trainer: Any) -> list[Any]:
    """The loggers that the settings ask for, in the folder of this fit."""
    return make_loggers(trainer._settings.output, _fit_folder(trainer))


def log_folder(trainer: Any) -> str:
    """The folder of this run, which its loggers and checkpoints share."""
    folders = [logger.log_dir for logger in trainer.loggers if logger.log_dir is not None]
    return str((folders[0] if folders else _fit_folder(trainer)) or root_folder(trainer))


def _service_folder(trainer: Any) -> str | None:
    """Where only services log, a folder with the name that the first gives to this run.

    The run is opened for it. Other ranks than zero don't know the name.
    """
    logger = trainer.logger
    has_folder = any(one.log_dir is not None for one in trainer.loggers) or _fit_folder(trainer)
    if has_folder or not getattr(logger, "is_service", False):
        return None
    _ = logger.experiment  # opens it
    if logger.version is None:
        return None
    root = logger.save_dir or root_folder(trainer)
    return os.path.join(root, str(logger.name or ""), str(logger.version))


def _fit_folder(trainer: Any) -> str | None:
    told_elsewhere = trainer._settings.output.default_root_dir is not None
    return None if told_elsewhere else rundir.fit_folder(trainer._ordinal)
