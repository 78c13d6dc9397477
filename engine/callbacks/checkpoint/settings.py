"""The settings of a ModelCheckpoint, and what is checked of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta

from engine.callbacks.checkpoint.top_k import check_mode
from engine.runtime.errors import ArgumentError


@dataclass(frozen=True)
class SaveTriggers:
    """What makes a ModelCheckpoint save, as the user gave it; None where nothing was given."""

    every_n_train_steps: int | None = None
    train_time_interval: timedelta | None = None
    every_n_epochs: int | None = None


@dataclass(frozen=True)
class CheckpointSettings:
    """All settings of one ModelCheckpoint."""

    dirpath: str | None
    filename: str
    monitor: str | None
    verbose: bool
    save_last: bool
    save_top_k: int
    save_weights_only: bool
    mode: str
    auto_insert_metric_name: bool
    prefix: str
    enable_version_counter: bool
    save_on_train_epoch_end: bool | None
    triggers: SaveTriggers


def check_settings(settings: CheckpointSettings) -> CheckpointSettings:
    """The same settings, if they fit together.

    Raises:
        ArgumentError: more than one trigger is given, `save_top_k` is below -1 or needs a
            monitor, or `mode` is neither "min" nor "max".
    """
    triggers = settings.triggers
    given = (triggers.every_n_train_steps, triggers.train_time_interval, triggers.every_n_epochs)
    if sum(bool(trigger) for trigger in given) > 1:
        raise ArgumentError(
            "give only one of every_n_train_steps, train_time_interval and every_n_epochs"
        )
    save_top_k = settings.save_top_k
    if save_top_k < -1:
        raise ArgumentError(f"save_top_k={save_top_k}: give a number, or -1 for all")
    if settings.monitor is None and save_top_k not in (-1, 0, 1):
        raise ArgumentError(f"save_top_k={save_top_k} needs a monitor that says which are best")
    check_mode(settings.mode)
    return settings


def absolute_folder(dirpath: str | os.PathLike[str] | None) -> str | None:
    """The folder as an absolute path, with the home directory in place of `~`."""
    return None if dirpath is None else os.path.abspath(os.path.expanduser(dirpath))
